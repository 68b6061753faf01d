"""Web, worker and signer as programs, on a console that was set up."""

from pathlib import Path
from typing import Final

from doorward_console.config import config_from_file

from tests.console.test_init import PROGRAM
from tests.parts.ports import is_listening
from tests.parts.processes import Program, Programs

PROCESSES: Final = ("web", "worker", "signer")


def serves(name: str, config: Path) -> bool:
    """Tell whether a process does what it is for: web is listened to, the others' doorbells are."""
    found = config_from_file(config)
    return is_listening(found.listen_port) if name == "web" else (found.run_dir / name).is_socket()


def started(programs: Programs, config: Path, name: str) -> Program:
    program = programs.start(*PROGRAM, "--config", config, name, name=name)
    program.wait_for(lambda: serves(name, config), 30, "its service")
    return program
