"""What each of the console's programs loads at its start: whoever waits for a command waits for that."""

import os
import sys

import pytest

from tests.parts.processes import PLAIN_ENVIRONMENT, run

LOADED = """
import importlib, sys
from doorward_console.__main__ import set_up_django
set_up_django(None)
importlib.import_module("doorward_console.commands." + sys.argv[1])
print(*(name for name in ("ninja", "pydantic", "django.test", "uvicorn") if name in sys.modules))
"""


@pytest.mark.parametrize("command", ["worker", "signer", "check", "migrate", "first"])
def test_command_when_it_serves_no_pages_then_it_does_not_load_what_serves_them(command: str) -> None:
    """The library of the API and the web server are web's own: with them everything else would start a third later."""
    environment = {**PLAIN_ENVIRONMENT, "DOORWARD_CONSOLE_CONFIG": os.environ["DOORWARD_CONSOLE_CONFIG"]}
    done = run([sys.executable, "-c", LOADED, command], env=environment)
    assert (done.returncode, done.stdout.decode().split()) == (0, []), done.stderr.decode()
