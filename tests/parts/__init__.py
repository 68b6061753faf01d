"""Real parts that tests start on loopback and end by pid: broker, sshd, database, certificates."""
