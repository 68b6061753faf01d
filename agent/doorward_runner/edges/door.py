"""The door: a folder of files in ``run_dir``, an SSH server on 127.0.0.1, and the proof that it answers.

One folder ``door-<session>`` at most; while it is there, something may be open. It is written before anything starts, so
that whoever comes after a killed runner finds what to end. How the processes are started and ended is the closers'.
"""

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from doorward_protocol.ids import SessionId, is_id

from doorward_runner.edges import files
from doorward_runner.errors import Refused
from doorward_runner.sshd_config import DoorSettings, sshd_config_from

BANNER_WAIT_S: Final = 10.0
"""A loaded small device takes one second to start sshd, and several to start a Python with its libraries."""
LATE_S: Final = 0.5
"""By then most doors have answered, and one that sshd refused to start never will."""
_PRIVILEGE_SEPARATION: Final = Path("/run/sshd")
"""Debian's sshd is built to want this folder, which its own unit makes; ours makes it where that does not run."""


class Door(NamedTuple):
    """One open door, as its folder says.

    Attributes:
        closer: the name of the one who ends it.
        banner: what its version line ends with.
        kind: ``sshd`` or ``embedded``.
        shares_user: whoever logs in is the agent's own user.
    """

    folder: Path
    session: SessionId
    port: int
    closer: str
    banner: str
    kind: str = "sshd"
    shares_user: bool = False

    @property
    def config(self) -> Path:
        return self.folder / "sshd_config"  # of a private sshd alone

    @property
    def authorized_keys(self) -> Path:
        return self.folder / "authorized_keys"


def folder_of(run_dir: Path, session: SessionId) -> Path:
    """Name the folder of a session's door."""
    return run_dir / f"door-{session}"


def found_doors(run_dir: Path) -> tuple[Door, ...]:
    """Give every door whose folder is there, also half-made ones (their port is 0)."""
    sessions = (folder.name.removeprefix("door-") for folder in sorted(run_dir.glob("door-s-*")))
    return tuple(_door_in(folder_of(run_dir, SessionId(session))) for session in sessions if is_id("s", session))


def _door_in(folder: Path) -> Door:
    session = SessionId(folder.name.removeprefix("door-"))
    text = files.read(folder / "door.json")
    if text is None:
        return Door(folder, session, 0, "", "")
    source = json.loads(text)
    kind, shares_user = source.get("door", "sshd"), source.get("shares_user", False)  # a door of the version before
    return Door(folder, session, source["port"], source["closer"], source["banner"], kind, shares_user)


def described(door: Door) -> dict[str, Any]:
    """Say what the agent is told of an open door (protocol.md §10)."""
    found = {"session": door.session, "port": door.port, "closer": door.closer}
    return {**found, "door": door.kind, "shares_user": door.shares_user}


def lay_out(door: Door, keys: tuple[str, ...], ends_s: float) -> None:
    """Write the files of a door of either kind."""
    door.folder.mkdir(mode=0o755)
    door.folder.chmod(0o755)
    document = {**described(door), "banner": door.banner}
    files.write(door.folder / "door.json", json.dumps(document) + "\n", mode=0o600)
    write_end(door.folder, ends_s)
    write_keys(door, keys)


def write_config(door: Door, settings: DoorSettings) -> None:
    """Write what a private sshd reads."""
    files.write(door.config, sshd_config_from(settings), mode=0o600)


def change(door: Door, keys: tuple[str, ...], ends_s: float) -> None:
    """Give an open door another end and other keys; whoever is logged in stays so."""
    write_keys(door, keys)
    write_end(door.folder, ends_s)


def write_keys(door: Door, keys: tuple[str, ...]) -> None:
    """Write who may log in; sshd reads it as the login user, so it is open to all."""
    files.write(door.authorized_keys, "".join(f"{key}\n" for key in keys), mode=0o644)


def write_end(folder: Path, ends_s: float) -> None:
    """Tell the keeper when: whole seconds of the boot-time clock, rounded down."""
    files.write(folder / "end", f"{int(ends_s)}\n", mode=0o644)


def remove(door: Door) -> None:
    """Take the folder away; the keeper may be doing the same."""
    files.remove_folder(door.folder)


def check_sshd(sshd: Path) -> None:
    """Refuse with ``door.no-sshd``; make the folder that sshd wants."""
    if not sshd.is_file():
        raise Refused("door.no-sshd", str(sshd))
    if os.geteuid() == 0 and _PRIVILEGE_SEPARATION.parent.is_dir():
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)


def knows_penalties(sshd: Path) -> bool:
    """Tell whether this sshd has PerSourcePenalties: its keywords stand in the program, lower case.

    Asking with ``sshd -V`` would cost a process at each opening and answers in a different way from version to version.
    """
    return b"persourcepenalties" in sshd.read_bytes()


def may_give_terminals() -> bool:
    """Tell whether an sshd without root can give terminals: it cannot change whose they are, so they have to be tty's.

    ``/dev/pts`` is mounted with ``gid=5`` on most systems and not in all containers; elsewhere each log-in with a terminal ends.
    """
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    return any(" /dev/pts devpts " in line and ",gid=5," in line for line in mounts)


def check_port(port: int) -> None:
    """Refuse with ``door.port-busy`` where something else listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Refused("door.port-busy", f"127.0.0.1:{port}: {error.strerror}") from error


def check_config(sshd: Path, door: Door) -> None:
    """Have sshd read its configuration; refuse with ``door.not-started`` and sshd's own words."""
    command = [str(sshd), "-t", "-f", str(door.config)]
    try:
        checked = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False, env={}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused("door.not-started", str(error)) from error
    if checked.returncode != 0:
        raise Refused("door.not-started", checked.stderr.decode(errors="replace").strip()[-500:])


def sshd_command(sshd: Path, door: Door) -> list[str]:
    """Give the command that is the door; it stays in the foreground of whoever started it."""
    return [str(sshd), "-D", "-f", str(door.config)]


def wait_for_banner(door: Door, sshd: Path) -> None:
    """Return when the door answers with this session's banner; refuse with ``door.not-started`` after ``BANNER_WAIT_S``.

    sshd is asked what it has against its configuration only when it is late: asking first would cost each opening 15 ms.
    """
    late_at, give_up_at = time.monotonic() + LATE_S, time.monotonic() + BANNER_WAIT_S
    while time.monotonic() < give_up_at:
        if answers(door):
            return
        if door.kind == "sshd" and time.monotonic() > late_at:
            check_config(sshd, door)
            late_at = give_up_at
        time.sleep(0.003)  # sshd is up within 15 ms; each look costs 0.1 ms
    raise Refused("door.not-started", f"{door.kind} shows no banner; sshd says why in the system's log")


def answers(door: Door, patience_s: float = 1.0) -> bool:
    """Tell whether this session's door answers on its port; a busy device may take long over it, a shut door does not."""
    try:
        with socket.create_connection(("127.0.0.1", door.port), timeout=patience_s) as stream:
            line = stream.makefile("rb").readline(300)
    except OSError:
        return False
    return line.rstrip().endswith(f" doorward-{door.banner}".encode())
