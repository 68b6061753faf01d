"""The command line as a person types it: help, examples, and what is wrong with what was typed."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from doorward_agent.choices import Chosen
from doorward_agent.config import DEFAULT_PATH

EXAMPLES: Final = """\
examples:
  doorward-agent join             once, as root; then paste the line from the device's page
  doorward-agent join < FILE      the same, from a file or a pipe
  doorward-agent run              as the agent's user; systemd does this
  doorward-agent rehearse         whether a door would open, how fast, and if not, why
  doorward-agent forwards         which named targets this device's configuration allows
  doorward-agent forwards NAME    whether one of them can be reached from here, step by step
  doorward-agent hooks            what this device can do, with which hook, and why not more
  doorward-agent status --json    how door, link, runner and journal stand

exit status: 0 done · 1 no, and why · 64 usage · 69 a library is missing · 75 already running · 77 not joined · 78 configuration
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(os.EX_USAGE, f"doorward-agent: {message}. Try: doorward-agent --help\n")

    def format_help(self) -> str:
        return EXAMPLES + "\n" + super().format_help()


def parsed(words: Sequence[str]) -> Chosen:
    """Read a command line; ends the program, with status 64 where it is wrong."""
    found = _parser().parse_args(words)
    return Chosen(
        found.command,
        found.config,
        getattr(found, "line", ""),
        getattr(found, "again", False),
        getattr(found, "json", False),
        getattr(found, "name", None) or "",
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="doorward-agent", description="Dials out, obeys signed orders, keeps a journal.")
    parser.add_argument("--config", type=Path, default=DEFAULT_PATH, help="default: %(default)s")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="run | join | rehearse | forwards | hooks | status"
    )
    commands.add_parser("run", help="work until told to stop")
    join = commands.add_parser("join", help="make this machine a device of a project")
    join.add_argument(
        "line", nargs="?", default="-",
        help="the join line itself, which others can then read from ps and the shell keeps in its history; better left out",
    )  # fmt: skip
    join.add_argument("--again", action="store_true", help="although this machine has joined already")
    commands.add_parser("rehearse", help="try the way to the relay without opening anything")
    forwards = commands.add_parser("forwards", help="list the named forwards, or test one")
    forwards.add_argument(
        "name", nargs="?", help="the one to test: it is resolved, checked and connected to, as for an opening"
    )
    commands.add_parser("hooks", help="say what this device can do, and why not more")
    status = commands.add_parser("status", help="say how things stand")
    status.add_argument("--json", action="store_true", help="as one JSON object")
    return parser
