"""The embedded door as a program: ``doorward_door``, a package of its own with the libraries that this room does not have.

It starts as the runner's user, reads what only that user may, and becomes the login user before it listens.
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

from doorward_runner.edges import files
from doorward_runner.edges.door import Door
from doorward_runner.sshd_config import DoorSettings


def missing() -> str | None:
    """Say what is missing for it, or None; looked for, not loaded."""
    absent = [name for name in ("doorward_door", "paramiko") if find_spec(name) is None]
    return f"{' and '.join(absent)} missing; install doorward[agent]" if absent else None


def write_settings(door: Door, settings: DoorSettings) -> None:
    """Write what the program reads in the door's folder."""
    document = {
        "port": settings.port,
        "login_user": settings.login_user,
        "banner": settings.banner,
        "host_key": str(settings.host_key),
        "host_certificate": None if settings.host_certificate is None else str(settings.host_certificate),
    }
    files.write(door.folder / "embedded.json", json.dumps(document) + "\n", mode=0o600)


def command(folder: Path) -> list[str]:
    """Give the command that is the door; it stays in the foreground of whoever started it."""
    return [sys.executable, "-m", "doorward_door", str(folder)]
