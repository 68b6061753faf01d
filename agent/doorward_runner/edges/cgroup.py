"""Ends a door by control group v2 (cgroups(7)): whatever its processes did, ``setsid`` and ``nohup`` too, they stay in it.

``<mount>/doorward-<session>`` holds the keeper, ``…/door`` the sshd and all that came of it. The keeper is started first:
at no moment is there a door without somebody to end it.
"""

import os
import time
from pathlib import Path
from typing import Final

from doorward_protocol.ids import SessionId

from doorward_runner.contracts import Opening
from doorward_runner.edges.processes import KEEPER, start_apart
from doorward_runner.errors import Refused

END_WAIT_S: Final = 5.0
"""A kill takes milliseconds; a process in an uninterruptible read of a bad disk may take seconds."""


class CgroupCloser:
    """The closer of machines without systemd."""

    name = "cgroup"

    def is_possible(self) -> bool:
        """Tell whether groups can be made and have ``cgroup.kill`` (Linux 5.14)."""
        mount = mount_point()
        if mount is None or not os.access(mount, os.W_OK):
            return False
        trial = mount / f"doorward-trial-{os.getpid()}"
        try:
            trial.mkdir()
            has_kill = (trial / "cgroup.kill").exists()
            trial.rmdir()
        except OSError:
            return False
        return has_kill

    def start(self, opening: Opening) -> None:
        """Make the groups, start the keeper, then the door."""
        group = _group_of(opening.session)
        if group is None:
            raise Refused("door.not-started", "no cgroup2 file system is mounted")
        try:
            (group / "door").mkdir(parents=True)
            arguments = [str(opening.folder), opening.session, str(opening.ended_file), str(group)]
            start_apart(["/bin/sh", str(KEEPER), *arguments], lambda: _enter(group))
            start_apart(opening.command, lambda: _enter(group / "door"))
        except OSError as error:
            raise Refused("door.not-started", str(error)) from error

    def end(self, session: SessionId, folder: Path) -> bool:
        """Kill the group, keeper and all, until it is empty and gone."""
        del folder
        group = _group_of(session)
        give_up_at = time.monotonic() + END_WAIT_S
        while group is not None and group.is_dir():
            _kill(group)
            if _is_gone(group / "door") and _is_gone(group):
                return True
            if time.monotonic() > give_up_at:
                return False
            time.sleep(0.005)
        return True


def _group_of(session: SessionId) -> Path | None:
    mount = mount_point()
    return None if mount is None else mount / f"doorward-{session}"


def _enter(group: Path) -> None:
    (group / "cgroup.procs").write_text("0", encoding="ascii")  # 0 is the writer itself (cgroups(7))


def _kill(group: Path) -> None:
    try:
        (group / "cgroup.kill").write_text("1", encoding="ascii")
    except FileNotFoundError:
        return  # the keeper was quicker


def _is_gone(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False  # EBUSY: still populated
    return True


def mount_point() -> Path | None:
    """Find where cgroup v2 is mounted (proc(5), mountinfo: mount point is field 5, type follows the hyphen)."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split(" ")[4])
    return None
