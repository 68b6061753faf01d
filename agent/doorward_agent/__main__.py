"""The command line: ``doorward-agent run | join | status``.

Exit status: 0 done; 1 no (the sentence says why and what to do); 64 wrong usage; 69 a library is missing; 75 another agent runs
here; 77 not joined yet; 78 the configuration has faults.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NoReturn

EXAMPLES: Final = """\
examples:
  doorward-agent join 'doorward-join-1 https://console.example.com …'   once, as root
  doorward-agent join - < line                                          the same, where others could read it from ps
  doorward-agent run                                                    as the agent's user; systemd does this
  doorward-agent status --json                                          how door, link, runner and journal stand

exit status: 0 done · 1 no, and why · 64 usage · 69 a library is missing · 75 already running · 77 not joined · 78 configuration
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(os.EX_USAGE, f"doorward-agent: {message}. Try: doorward-agent --help\n")

    def format_help(self) -> str:
        return EXAMPLES + "\n" + super().format_help()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give the exit status."""
    os.umask(0o077)
    chosen = _parser().parse_args(arguments)
    missing = [name for name in ("cryptography", "paho", "transitions") if find_spec(name) is None]
    if missing:
        return _complain(f"{', '.join(missing)} is missing; install doorward[agent]", os.EX_UNAVAILABLE)
    from doorward_agent import commands
    from doorward_agent.errors import AlreadyJoined, AlreadyRunning, ConfigError, JoinFailed, NotJoined

    try:
        return commands.run_command(chosen)
    except ConfigError as error:
        return _complain(str(error), os.EX_CONFIG)
    except NotJoined as error:
        return _complain(str(error), os.EX_NOPERM)
    except AlreadyRunning as error:
        return _complain(str(error), os.EX_TEMPFAIL)
    except (AlreadyJoined, JoinFailed) as error:
        return _complain(str(error), 1)


def _complain(sentence: str, status: int) -> int:
    sys.stderr.write(f"doorward-agent: {sentence}\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="doorward-agent", description="Dials out, obeys signed orders, keeps a journal.")
    parser.add_argument("--config", type=Path, default=Path("/etc/doorward/agent.toml"), help="default: %(default)s")
    commands = parser.add_subparsers(dest="command", required=True, metavar="run | join | status")
    commands.add_parser("run", help="work until told to stop")
    join = commands.add_parser("join", help="make this machine a device of a project")
    join.add_argument("line", help="the join string, as copied from the device's page; - reads it from standard input")
    join.add_argument("--again", action="store_true", help="although this machine has joined already")
    status = commands.add_parser("status", help="say how things stand")
    status.add_argument("--json", action="store_true", help="as one JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
