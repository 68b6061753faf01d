"""What ``make`` says before there is anything of ours that could say it."""

import shutil
from pathlib import Path
from typing import Any

import pexpect

from tests.house.machine import CHECKOUT
from tests.parts.files import write_whole
from tests.parts.processes import PLAIN_ENVIRONMENT, run

PYTHON = """\
#!/bin/sh
mkdir -p .venv/bin
printf '#!/bin/sh\\necho pip "$@"\\n' > .venv/bin/pip
chmod +x .venv/bin/pip
"""
"""Makes an environment whose pip only says how it was called."""


def test_install_when_somebody_watches_then_pip_shows_its_progress_and_elsewhere_it_is_quiet(tmp_path: Path) -> None:
    """Several minutes of nothing look broken; in a log a hundred lines of downloads are in the way."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, tmp_path)
    python = write_whole(tmp_path / "python", PYTHON, 0o755)
    make = ["install", "-C", str(tmp_path), f"PYTHON={python}"]
    watched: pexpect.spawn[Any] = pexpect.spawn("/usr/bin/make", make, env=dict(PLAIN_ENVIRONMENT), timeout=20)
    said = watched.read().decode()
    watched.close()
    assert "a few minutes, once" in said
    assert "pip install --disable" in said
    (tmp_path / ".venv" / ".stamp").unlink()
    assert b"pip install --quiet" in run(["/usr/bin/make", *make]).stdout
