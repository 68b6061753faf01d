"""``doorward-console``: one program for everything that an operator of the console starts or asks.

Reads the arguments, names the configuration for Django, and calls the command's module; commands that do not need Django
do not load it.
"""

import argparse
import atexit
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from doorward_console.commands import COMMANDS, Command
from doorward_console.config import DEFAULT_PATH, ENVIRONMENT, ConfigError
from doorward_console.edges.alone import AlreadyRunning

EXIT_FAILED = 1
EXIT_RUNS_ALREADY = 75
"""sysexits.h, EX_TEMPFAIL: nothing has to be mended, only ended."""
EXIT_CONFIG = 78
"""sysexits.h, EX_CONFIG: the operator mends a file."""

_EXAMPLES = """\
examples:
  doorward-console init --address https://console.example.com --owner aiko@example.com --project plant
  doorward-console serve                     web, worker and signer in one terminal, for a trial
  doorward-console check                     what works and what does not, with the next step
  doorward-console web                       each as a service of its own: web, worker, signer
  doorward-console broker-config /etc/mosquitto/doorward
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit code: 0 done, 1 failed, 2 wrong arguments, 75 already running, 78 a file to mend."""
    arguments = _parser().parse_args(argv)
    command = COMMANDS[arguments.command]
    try:
        return _run(command, arguments)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("doorward_console"):
            raise
        sys.stderr.write(f"{error.name} is not installed. Install the console: pip install 'doorward[console]'\n")
        return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="doorward-console",
        description=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, default=None, help=f"the configuration (default: {DEFAULT_PATH})")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        one = subparsers.add_parser(
            name,
            help=command.summary,
            description=f"{command.summary}\n\nexample:\n  {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(one)
    return parser


def _run(command: Command, arguments: argparse.Namespace) -> int:
    try:
        with _loading():
            if command.needs_django:
                set_up_django(arguments.config)
            module = import_module(command.module)
        code: int = module.run(arguments)
    except Exception as error:
        known = next((status for kind, status in _foreseen() if isinstance(error, kind)), None)
        if known is None:
            raise
        sys.stderr.write(f"{error}\n")
        return known
    return code


@contextmanager
def _loading() -> Iterator[None]:
    """Look for no garbage meanwhile, nor ever again among what was loaded, also not as all of it goes."""
    gc.disable()
    atexit.register(gc.freeze)
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def _foreseen() -> tuple[tuple[type[Exception], int], ...]:
    """Name the errors that an operator can do something about; key files need the console's extra to be there."""
    from doorward_console.edges.key_files import BadKeyFile  # late: `--help` works without the console's extra

    return (ConfigError, EXIT_CONFIG), (BadKeyFile, EXIT_CONFIG), (AlreadyRunning, EXIT_RUNS_ALREADY)


def set_up_django(config: Path | None) -> None:
    """Point Django at the configuration and load the models; raises ConfigError."""
    if config is not None:
        os.environ[ENVIRONMENT] = str(config)
    elif ENVIRONMENT not in os.environ:
        os.environ[ENVIRONMENT] = str(DEFAULT_PATH)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "doorward_console.settings")
    import django  # late: `--help` and commands without a database work without it

    django.setup()


if __name__ == "__main__":
    sys.exit(main())
