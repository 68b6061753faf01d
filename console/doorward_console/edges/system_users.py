"""System users and groups, looked up and made with useradd(8); and folders that belong to them."""

import grp
import os
import pwd
import subprocess
from pathlib import Path
from typing import Final

from doorward_console.edges.key_files import Owner

_LIMIT_S: Final = 30
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


class NoUser(Exception):
    """A system user could not be made; the message is useradd's own."""


def ensure_user(name: str, group: str) -> Owner:
    """Make a system user without log-in, home or password, of ``group``, if there is none; raises NoUser."""
    ensure_group(group)
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        shell = "/usr/sbin/nologin"
        _run("/usr/sbin/useradd", "--system", "--no-create-home", "--shell", shell, "--gid", group, name)
        entry = pwd.getpwnam(name)
    return Owner(entry.pw_uid, grp.getgrnam(group).gr_gid)


def ensure_group(name: str) -> int:
    """Make a system group if there is none; gives its id; raises NoUser."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        _run("/usr/sbin/groupadd", "--system", name)
        return grp.getgrnam(name).gr_gid


def owner_named(name: str) -> Owner | None:
    """Find a user and its first group, or None."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Owner(entry.pw_uid, entry.pw_gid)


def user_of(path: Path) -> str:
    """Name the user who owns a file."""
    uid = path.stat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def ensure_folder(path: Path, mode: int, owner: Owner) -> None:
    """Make a folder if there is none; one that we make gets ``mode`` and ``owner``."""
    if path.is_dir():
        return
    path.mkdir(parents=True)
    os.chown(path, -1 if owner.user is None else owner.user, -1 if owner.group is None else owner.group)
    path.chmod(mode)


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, timeout=_LIMIT_S, check=False, env=_ENVIRONMENT)
    if done.returncode != 0:
        raise NoUser(f"{argv[0]}: {done.stderr.decode(errors='replace').strip()}")
