"""No thread of the agent fails alone."""

import os
import sys

import pytest

from tests.parts.processes import run

PROGRAM = """
import threading
from doorward_agent.edges.threads import end_with_the_first
end_with_the_first()
threading.Thread(target=lambda: 1 / 0, name="tunnel").start()
threading.Event().wait(20)
"""


@pytest.mark.feature("E9")
def test_agent_when_one_of_its_threads_fails_then_the_process_ends_and_says_which() -> None:
    """An agent without its tunnel's thread would say that it runs and never open again."""
    done = run([sys.executable, "-c", PROGRAM])
    assert done.returncode == os.EX_SOFTWARE
    assert b"thread failed name=tunnel" in done.stderr
    assert b"ZeroDivisionError" in done.stderr
