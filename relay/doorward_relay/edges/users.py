"""The tunnel user: a system account that sshd lets in by certificate and nobody by password."""

import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Final

from doorward_relay.config import ConfigError

_LIMIT_S: Final = 30
_SHELL: Final = "/bin/sh"
"""sshd runs the forced command through the user's shell; nologin would refuse it."""


def make_tunnel_user(name: str) -> None:
    """Make the tunnel user. Its password is ``*``: none fits, and unlike ``!`` it does not lock the account for keys."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        useradd = _program("useradd")
        arguments = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        _run([useradd, *arguments, "--shell", _SHELL, "--password", "*", name])
    else:
        if entry.pw_shell != _SHELL or _is_locked(name):
            _run([_program("usermod"), "--password", "*", "--shell", _SHELL, name])


def _is_locked(name: str) -> bool:
    """Tell whether sshd would refuse every key of an account (shadow(5): a password field that begins with ``!``)."""
    rows = (line.split(":") for line in Path("/etc/shadow").read_text().splitlines())
    return any(row[0] == name and row[1].startswith("!") for row in rows)


def _program(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise ConfigError([f"{name} is missing on this machine; install it (Debian: the package passwd)"])
    return found


def _run(arguments: list[str]) -> None:
    ran = subprocess.run(arguments, capture_output=True, text=True, timeout=_LIMIT_S, check=False, env={})
    if ran.returncode != 0:
        raise ConfigError([f"{arguments[0]} failed: {ran.stderr.strip()}"])
