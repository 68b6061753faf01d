"""The embedded relay: an ssh server of our own on asyncssh, in the daemon's process, under any user."""
