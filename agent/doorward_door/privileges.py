"""From root to the login user, once and for good, and closed to that user's other processes (credentials(7), prctl(2))."""

import ctypes
import os
import pwd
from contextlib import suppress
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_ENGINEERS_UMASK: Final = 0o022
"""What an engineer makes is as readable as with a plain sshd; the runner's own mask is narrower."""


def become(user: str) -> None:
    """Become ``user``, in its home, where we are root; and keep its other processes out of our memory, which holds the host key.

    A process that is not dumpable can neither be traced nor read through /proc by its own user, an engineer's shell.
    """
    account = pwd.getpwnam(user)
    if os.geteuid() == 0:
        os.initgroups(user, account.pw_gid)
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    if os.getresuid() != (account.pw_uid,) * 3 or account.pw_uid == 0:
        raise PermissionError(f"could not become {user}")
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise PermissionError("could not close our memory")
    os.umask(_ENGINEERS_UMASK)
    with suppress(OSError):
        os.chdir(account.pw_dir)
