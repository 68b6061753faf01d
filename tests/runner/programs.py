"""Where the runner under test is."""

import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
RUNNER: Final = Path(sys.executable).with_name("doorward-runner")
"""The installed program, beside the Python that runs the tests."""
KEEPER: Final = ROOT / "agent" / "doorward_runner" / "keeper.sh"
UNITS: Final = ROOT / "systemd"
