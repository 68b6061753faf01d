"""Starts a program as a unit's hardening would: its system call filter, its capabilities, no new privileges, no writable code.

    python confined.py UNIT PROGRAM ARGUMENT...

For machines that systemd does not run, so that a filter which is too narrow fails in a test and not on a device. The lists are
systemd's own; libseccomp, which systemd loads too, makes the filter. Namespaces and folders are left as they are.
"""

import ctypes
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

UNITS: Final = Path(__file__).resolve().parents[2] / "systemd"
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
"""seccomp.h: SCMP_ACT_ALLOW, SCMP_ACT_ERRNO(x)."""
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_MDWE = 24, 38, 65
_LAST_CAPABILITY: Final = 40
_CAPABILITIES: Final = {
    "CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_DAC_READ_SEARCH": 2, "CAP_FOWNER": 3, "CAP_KILL": 5, "CAP_SETGID": 6,
    "CAP_SETUID": 7, "CAP_NET_BIND_SERVICE": 10, "CAP_SYS_CHROOT": 18, "CAP_SYS_PTRACE": 19, "CAP_SYS_RESOURCE": 24,
    "CAP_AUDIT_WRITE": 29,
}  # fmt: skip
"""capabilities(7), those that units of ours keep."""


def settings_of(unit: Path) -> dict[str, list[str]]:
    """Read a unit: each key with its values, in their order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def allowed_by(filters: list[str]) -> set[str]:
    """Name the system calls that a unit's ``SystemCallFilter=`` lines let pass (systemd.exec(5))."""
    allowed: set[str] = set()
    for line in filters:
        names = {name for word in line.removeprefix("~").split() for name in _members(word)}
        allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed | set(_members("@default"))


def _members(word: str) -> Iterator[str]:
    """Resolve a group to its system calls, as this systemd has it."""
    if not word.startswith("@"):
        yield word
        return
    told = subprocess.run(
        ["/usr/bin/systemd-analyze", "syscall-filter", word], capture_output=True, check=True, text=True
    )
    for line in told.stdout.splitlines()[1:]:
        if line.strip() and not line.strip().startswith("#"):
            yield from _members(line.strip())


def confine(unit: Path) -> None:
    """Take from this process, for good, what a unit takes from its own."""
    settings = settings_of(unit)
    allowed = allowed_by(settings["SystemCallFilter"])  # before there is a filter, which may forbid asking
    libc = ctypes.CDLL(None, use_errno=True)
    kept = {_CAPABILITIES[name] for name in settings["CapabilityBoundingSet"][-1].split()}
    for number in set(range(_LAST_CAPABILITY + 1)) - kept:
        if os.geteuid() == 0 and libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"capability {number}")
    if "yes" in settings.get("MemoryDenyWriteExecute", []) and libc.prctl(_PR_SET_MDWE, 1, 0, 0, 0) != 0:
        sys.stderr.write("this kernel (before 6.3) does not know PR_SET_MDWE: not tried\n")
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _filter(allowed)


def _filter(allowed: set[str]) -> None:
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    seccomp.seccomp_rule_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint]
    seccomp.seccomp_load.argtypes = [ctypes.c_void_p]
    made = seccomp.seccomp_init(_ERRNO | errno.EPERM)
    for name in sorted(allowed):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # others are of other architectures
            seccomp.seccomp_rule_add(made, _ALLOW, number, 0)
    if seccomp.seccomp_load(made) != 0:
        raise OSError("seccomp_load")


def as_unit(service: str, *argv: str | os.PathLike[str]) -> list[str]:
    """Give the command line that runs a program as a service of ours is confined."""
    return [sys.executable, __file__, str(UNITS / f"{service}.service"), *(os.fspath(part) for part in argv)]


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
