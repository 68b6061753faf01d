"""What docs/hooks.md shows of settings, taken from the page and run."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.runner.programs import ROOT

PAGE = (ROOT / "docs" / "hooks.md").read_text()


@pytest.mark.feature("B7", "I15")
def test_guide_when_its_settings_hooks_are_tried_then_they_go_back_to_what_was_confirmed_and_no_further(
    tmp_path: Path,
) -> None:
    """Applied and not confirmed: back. Never begun: nothing. Twice: nothing more."""
    section = PAGE.partition("## Settings that can be put back")[2].partition("\n## ")[0]
    keep, back = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    live, state = tmp_path / "pump.conf", tmp_path / "state"
    state.mkdir()
    live.write_text("as made")

    def step(script: str, base: str) -> None:
        text = f"set -eu\nbase={base}\n{script}".replace("/etc/pump.conf", str(live))
        subprocess.run(["/bin/sh", "-c", text], check=True, env={"DOORWARD_STATE": str(state), "PATH": "/usr/bin:/bin"})

    for values in ("cut off in the middle", "first"):  # the same again
        step(keep, "d-1.0-0")
        live.write_text(values)
    step(back, "d-1.0-1")  # the first are confirmed, and the next never began
    assert live.read_text() == "first"
    step(keep, "d-1.0-1")
    live.write_text("second")
    for _ in range(2):
        step(back, "d-1.0-1")
        assert live.read_text() == "first"
    assert list(state.iterdir()) == []
