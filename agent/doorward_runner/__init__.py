"""The agent's root half: checks one signed order itself, does one thing, and is gone.

Reads in this order: ``__main__`` (who may call what), ``runtime`` (what happens to a request), ``promise`` (how long),
``edges/door`` (what is started), ``edges/cgroup`` (how it ends). Imports the standard library, ``doorward_protocol``,
and through it ``cryptography``, but that only once there is a signature to check.
"""

VERSION = "0.1.0"
"""As the distribution's; written here because looking it up costs 20 ms at each start. A test compares them."""
