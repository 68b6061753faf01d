"""What each of the console's programs loads at its start: whoever waits for a command waits for that."""

import os
import sys
from collections.abc import Sequence

import pytest

from tests.parts.processes import PLAIN_ENVIRONMENT, run

LOADED = """
import importlib, sys
from doorward_console.__main__ import set_up_django
set_up_django(None)
importlib.import_module("doorward_console." + sys.argv[1])
print(*(name for name in sys.argv[2:] if name in sys.modules))
"""
OF_PAGES = ("ninja", "pydantic", "django.test", "uvicorn")
OF_FEW = ("psycopg", "jsonschema")
"""The client of a database that this console does not have, and what judges schemas in a process of its own."""


def loaded(module: str, looked_for: Sequence[str]) -> list[str]:
    """Load a module of the console's as its programs do, and give which of these libraries came with it."""
    environment = {**PLAIN_ENVIRONMENT, "DOORWARD_CONSOLE_CONFIG": os.environ["DOORWARD_CONSOLE_CONFIG"]}
    done = run([sys.executable, "-c", LOADED, module, *looked_for], env=environment)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split()


@pytest.mark.parametrize("command", ["worker", "signer", "check", "migrate", "first"])
def test_command_when_it_serves_no_pages_then_it_does_not_load_what_serves_them(command: str) -> None:
    """The library of the API and the web server are web's own: with them everything else would start a third later."""
    assert loaded(f"commands.{command}", (*OF_PAGES, *OF_FEW)) == []


def test_web_when_its_database_is_sqlite_then_it_does_not_load_what_it_does_not_need() -> None:
    """Both come when they are needed: a start is a tenth quicker without, and a stranger's schema stays out of this process."""
    assert loaded("urls", OF_FEW) == []


def test_web_when_it_takes_connections_then_what_answers_is_loaded_already() -> None:
    """Django loads it at the first request otherwise: after each restart somebody would wait 0.7 s, and everybody beside that one."""
    answers = ["doorward_console.api.doors", "doorward_console.pages.views.devices"]
    assert loaded("asgi", answers) == answers
