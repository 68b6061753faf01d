"""What a house must not leave on the machine that it stood on: processes, control groups, folders, accounts, sudo rules.

Looked for in the kernel's own lists and on the disk, not in what the house remembers to have started.
"""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from tests.parts.installed import cgroup_root
from tests.parts.waiting import wait_until

LIMIT_S: Final = 5
"""The kernel ends a machine's processes after its first one; that takes a moment."""
_OTHER_TESTS: Final = re.compile(r"dw(?:login|agent)[0-9a-f]{6}|doorward-[0-9a-f]{8}|(?:dwt|doorward-t)[0-9]+")
"""Accounts and rules of other tests, which may come and go beside."""


def traces_of(
    folder: Path, sessions: Collection[str], accounts_before: Collection[str], limit_s: float = LIMIT_S
) -> list[str]:
    """Name, one sentence each, what a house in ``folder`` left behind; empty when nothing is."""

    def found() -> list[str]:
        return [*_traces(folder, sessions, accounts_before)]

    try:
        wait_until(lambda: not found(), limit_s, "the house to be gone")
    except AssertionError:
        return found()
    return []


def accounts() -> set[str]:
    """List this machine's accounts and sudo's files."""
    names = [f"account {line}" for line in Path("/etc/passwd").read_text().splitlines()]
    names += [f"sudo rule {path}" for path in Path("/etc/sudoers.d").iterdir()]
    return {name for name in names if not _OTHER_TESTS.search(name)}


def _traces(folder: Path, sessions: Collection[str], accounts_before: Collection[str]) -> Iterator[str]:
    yield from (f"left behind: process {pid}: {title}" for pid, title in _processes_of(folder))
    if (root := cgroup_root()) is not None:
        groups = (root / f"doorward-{session}" for session in sessions)
        yield from (f"left behind: control group {group}" for group in groups if group.exists())
    yield from (f"left behind: {name}" for name in sorted(accounts() - set(accounts_before)))
    if folder.exists():
        yield f"left behind: folder {folder}"


def _processes_of(folder: Path) -> Iterator[tuple[int, str]]:
    """Find processes that were started with the folder's name, stand in it, or see a machine's folders in place of ours."""
    name = folder.name.encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                title = (entry / "cmdline").read_bytes()
                where = str((entry / "cwd").readlink()).encode()
                if name in title or name in where or name in (entry / "mountinfo").read_bytes():
                    yield int(entry.name), title.replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it ended meanwhile
