"""Accounts of this machine that tests make, and surely take away: what is left of one run lies in the way of later ones."""

import pwd
from typing import Final

from tests.parts.processes import run
from tests.parts.waiting import wait_until

_NO_SUCH_USER: Final = 6
"""A status of userdel(8)."""


def remove_account(name: str) -> None:
    """Take an account away, with its home; nothing happens where there is none.

    Forced: without it userdel(8) keeps an account of whose number a process runs, and the machines that other tests build have
    accounts with numbers of their own. Somebody else's useradd may hold the files for a moment.
    """
    wait_until(lambda: _is_removed(name), 60, f"the end of the account {name}")


def _is_removed(name: str) -> bool:
    done = run(["/usr/sbin/userdel", "--force", "--remove", name])
    return done.returncode == _NO_SUCH_USER or not any(entry.pw_name == name for entry in pwd.getpwall())
