"""What the runner tells the door, in the door's folder: ``embedded.json``, and, read again each time, keys and end."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """One door.

    Attributes:
        folder: the door's; also the mark by which what it starts is found (``DOORWARD_DOOR``).
        port: on 127.0.0.1.
        banner: what the version line ends with.
        host_key: private; readable by whoever starts the door.
        host_certificate: shown to clients that know certificates.
    """

    folder: Path
    port: int
    login_user: str
    banner: str
    host_key: Path
    host_certificate: Path | None

    def authorized_keys(self) -> str:
        """Give the lines of those who may log in now; raises OSError where the door is being taken down."""
        return (self.folder / "authorized_keys").read_text(encoding="utf-8")

    def is_end_reached(self) -> bool:
        """Tell whether the session is over by the boot-time clock (proc(5)); no readable end is an end."""
        try:
            end = (self.folder / "end").read_text(encoding="utf-8").strip()
        except OSError:
            return True
        uptime_s = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
        return not end.isdecimal() or int(end) <= uptime_s


def settings_from_folder(folder: Path) -> DoorSettings:
    """Read what the runner wrote; it is ours, so what is missing in it is a bug."""
    source = json.loads((folder / "embedded.json").read_text(encoding="utf-8"))
    certificate = source["host_certificate"]
    return DoorSettings(
        folder=folder,
        port=source["port"],
        login_user=source["login_user"],
        banner=source["banner"],
        host_key=Path(source["host_key"]),
        host_certificate=None if certificate is None else Path(certificate),
    )
