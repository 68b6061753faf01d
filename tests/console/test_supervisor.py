"""Web, worker and signer under systemd: what each says, and when."""

from contextlib import closing
from pathlib import Path

import pytest

from tests.console.serving import PROCESSES, serves
from tests.console.test_init import PROGRAM
from tests.parts.confined import as_unit
from tests.parts.processes import Programs
from tests.parts.supervision import Init, must_obey_a_watchdog


@pytest.mark.feature("E9")
@pytest.mark.real("systemd-analyze")
@pytest.mark.parametrize("name", PROCESSES)
def test_process_when_its_loop_hangs_then_systemd_hears_no_more_of_it(
    standing: Path, programs: Programs, scratch: Path, name: str
) -> None:
    """Ready once it serves, alive in time while its loop turns, silent while that hangs, and a word when it ends."""
    with closing(Init(scratch / "notify")) as heard:
        argv = as_unit("doorward-console@", *PROGRAM, "--config", standing, name)
        program = programs.start(*argv, name=name, env=heard.environment)
        must_obey_a_watchdog(heard, program, lambda: serves(name, standing))
