"""What ``make`` says before there is anything of ours that could say it."""

import shutil
import signal
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


DEMO = """\
#!/bin/sh
trap 'while grep -q "^ShdPnd:.*[2367abef]$" /proc/$PPID/status; do sleep 0.01; done; kill $!; echo ended; exit 0' INT
sleep 60 &
echo runs
wait
"""
"""Ends on Ctrl-C as the demo does: by itself, well, and after make has heard of it as well.

The demo has processes to end first, which takes it a second. Where a child is gone before make was given the processor to
hear the signal (2 is the second bit of those that wait), make's handler waits for a child that make has just reaped.
"""


def _as_in_a_terminal() -> None:
    """Hear Ctrl-C, also where the tests run in the background of a script, which ignores it; a shell could not take that back."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_demo_when_ctrl_c_has_ended_it_then_make_says_nothing_of_errors(tmp_path: Path) -> None:
    """The demo's last words are the last; a shell between it and make would call the end that was asked for an error."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / ".stamp").touch()
    write_whole(tmp_path / ".venv" / "bin" / "python", DEMO, 0o755)
    demo: pexpect.spawn[Any] = pexpect.spawn(
        "/usr/bin/make",
        ["demo", "-C", str(tmp_path)],
        timeout=20,
        env=dict(PLAIN_ENVIRONMENT),
        preexec_fn=_as_in_a_terminal,
    )
    demo.expect("runs\r\n")
    demo.sendintr()
    assert demo.read().decode().split() == ["^Cended"]
    demo.close()
