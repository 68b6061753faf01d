"""The embedded door: an SSH server for devices without OpenSSH, started by the runner where it would start sshd (ADR 0012).

Reads in this order: ``__main__`` (from root to the login user), ``listening`` (whom it hears), ``transport`` (how much it lets a
stranger say), ``admitting`` (who gets in), ``serving`` (what they may ask for), ``processes`` and ``files`` (what they get). It knows
nothing of orders, sessions or ends but what stands in the door's folder; whoever started it ends it.
"""

import sys

# paramiko takes it where it is there, for one word of an ssh_config that nobody reads here: 7 MiB, and a quarter of the start.
sys.modules["invoke"] = None  # type: ignore[assignment]
