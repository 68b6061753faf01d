"""What the runner touches, one module each: files, the clock, the account, sshd, and the three ways to end a door."""
