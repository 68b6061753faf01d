"""The four programs as they are installed."""

import sys
from pathlib import Path

import pytest

from tests.parts.processes import run

ROOT = Path(__file__).resolve().parent.parent

PROGRAMS = {
    "doorward_agent": ("agent", ["run"]),
    "doorward_runner": ("agent", []),
    "doorward_relay": ("relay", ["run"]),
    "doorward_console": ("console", ["web"]),
}
"""Each program's package, the extra that it needs, and arguments with which it would do its work."""


@pytest.mark.parametrize("package", PROGRAMS)
def test_program_when_its_extra_is_missing_then_one_line_says_which(package: str) -> None:
    """A program without its extra says in one line what to install, and fails."""
    extra, arguments = PROGRAMS[package]
    roots = [str(ROOT / room) for room in ("protocol", "agent", "relay", "console")]
    code = f"import sys; sys.path[:0] = {roots}; from {package}.__main__ import main; sys.exit(main())"
    ran = run([sys.executable, "-I", "-S", "-W", "error", "-c", code, *arguments])
    said = ran.stderr.decode()
    assert ran.returncode != 0, said
    assert said.count("\n") == 1, said
    assert f"doorward[{extra}]" in said
