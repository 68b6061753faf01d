"""What of the real world is installed here; a test whose part is missing is skipped aloud.

Tests name parts with ``@pytest.mark.real("mosquitto", "sshd")``; part fixtures call ``require`` themselves.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

_SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""An ordinary user's PATH lacks the sbin folders where mosquitto and sshd stand."""


@dataclass(frozen=True, slots=True)
class Part:
    """A program and the Debian package that brings it."""

    program: str
    package: str


PARTS: Final[Mapping[str, Part]] = {
    "mosquitto": Part("mosquitto", "mosquitto"),
    "sshd": Part("sshd", "openssh-server"),
    "ssh": Part("ssh", "openssh-client"),
    "sftp": Part("sftp", "openssh-client"),
    "rsync": Part("rsync", "rsync"),
    "chromium": Part("chromium-headless-shell", "chromium-headless-shell"),
    "postgres": Part("postgres", "postgresql"),
    "sudo": Part("sudo", "sudo"),
    "useradd": Part("useradd", "passwd"),
    "setpriv": Part("setpriv", "util-linux"),
    "curl": Part("curl", "curl"),
    "nft": Part("nft", "nftables"),
    "ip": Part("ip", "iproute2"),
    "dbclient": Part("dbclient", "dropbear-bin"),
    "plink": Part("plink", "putty-tools"),
    "puttygen": Part("puttygen", "putty-tools"),
    "ifup": Part("ifup", "ifupdown"),
    "unshare": Part("unshare", "util-linux"),
    "nsenter": Part("nsenter", "util-linux"),
    "systemd-analyze": Part("systemd-analyze", "systemd"),
    "systemd": Part("/lib/systemd/systemd", "systemd"),
    "systemd-networkd": Part("/lib/systemd/systemd-networkd", "systemd"),
    "dbus-daemon": Part("dbus-daemon", "dbus"),
    "dnsmasq": Part("dnsmasq", "dnsmasq-base"),
    "NetworkManager": Part("NetworkManager", "network-manager"),
}


def program_path(part: str) -> Path | None:
    """Find the absolute path of a part's program, or None when it is not installed."""
    if part == "postgres":
        return _newest_postgres()
    found = shutil.which(PARTS[part].program, path=_SEARCH_PATH)
    if found is None and part == "chromium":
        found = shutil.which("chromium", path=_SEARCH_PATH)  # the same engine inside a whole browser: a third more work
    return None if found is None else Path(found)


def _newest_postgres() -> Path | None:
    """Find PostgreSQL's server, which Debian keeps out of every PATH."""
    found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return max(found, key=lambda path: int(path.parts[4]), default=None)


def missing(part: str) -> str | None:
    """Say why ``part`` is not to be had here, naming the cure, or None when it is."""
    if part == "root":
        return None if os.geteuid() == 0 else "needs root: run the tests as root"
    if part == "cgroup":
        return (
            None
            if cgroup_root() is not None
            else "needs a writable cgroup v2 hierarchy: run as root on Linux 5.14 or later"
        )
    if program_path(part) is None:
        return f"needs {PARTS[part].program}: apt install {PARTS[part].package}"
    return None


def cgroup_root() -> Path | None:
    """Find a cgroup v2 hierarchy in which we may make groups."""
    for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if (root / "cgroup.controllers").exists() and os.access(root, os.W_OK) and os.geteuid() == 0:
            return root
    return None


def require(part: str) -> Path:
    """Give the absolute path of a part's program; skip the test, naming the package, when it is not installed."""
    reason = missing(part)
    if reason is not None:
        pytest.skip(reason)
    found = program_path(part)
    assert found is not None
    return found
