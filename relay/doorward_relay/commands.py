"""The commands of doorward-relay: arguments in, exit status out.

Exit statuses: 0 done or all well; 1 ``status`` found something that is not as it should be, or ``install`` was declined;
64 wrong command line; 75 another daemon runs on this relay's state; 77 not root (a managed relay needs it); 78 the configuration or the machine has to be changed.

Each command loads what it needs and no more: the daemon's HTTP server alone would cost ``status`` four tenths of a second.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from doorward_relay.config import (
    DEFAULT_PATH,
    EMBEDDED,
    AlreadyRunning,
    ConfigError,
    RelayConfig,
    config_from_document,
    config_from_text,
)

OK: Final = 0
NOT_WELL: Final = 1
USAGE: Final = 64
RUNS_ALREADY: Final = 75
NO_ROOT: Final = 77
CONFIG: Final = 78

_EXAMPLES: Final = """\
examples:
  doorward-relay install --host relay.example.com
      set up a relay on this machine and print the line for the console
  doorward-relay install --host relay.example.com --ssh-port 2222 --control-port 8443 --ports 20000-29999 --yes
  doorward-relay install --pair-again
      withdraw the pairing (open doors are shut) and print a new line
  doorward-relay run --with-sshd
      serve in the foreground, with the relay's own sshd (without systemd)
  doorward-relay install --embedded --host relay.example.com --config ~/relay/relay.toml \\
      --state-dir ~/relay/state --run-dir ~/relay/run
      set up a relay that is one process of an ordinary user's, without OpenSSH
  doorward-relay serve --config ~/relay/relay.toml
      serve an embedded relay in the foreground
  doorward-relay status --json

exit statuses:
  0 well   1 not well, or declined   64 command line   75 already running   77 not root   78 configuration
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        self.exit(USAGE, f"{self.prog}: {message}\nTry: {self.prog} --help\n")


def run_command(arguments: Sequence[str]) -> int:
    """Run one command and give the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    chosen = _parser().parse_args(arguments)
    try:
        return _COMMANDS[chosen.command](chosen)
    except _NeedsRoot:
        sys.stderr.write(
            "a managed relay needs root: it makes a user, reads the kernel's tables and ends connections; "
            "an embedded one does not: doorward-relay install --embedded\n"
        )
        return NO_ROOT
    except AlreadyRunning as error:
        sys.stderr.write(f"doorward-relay: {error}\n")
        return RUNS_ALREADY
    except ConfigError as error:
        for fault in error.faults:
            sys.stderr.write(f"doorward-relay: {fault}\n")
        return CONFIG


class _NeedsRoot(Exception):
    """What is asked for can be done by root alone."""


def _for_this_user(config: RelayConfig) -> RelayConfig:
    """Give the configuration of a relay that this user may run; raises _NeedsRoot."""
    if not config.is_embedded and os.geteuid() != 0:
        raise _NeedsRoot
    return config


def _install(chosen: argparse.Namespace) -> int:
    from doorward_relay.install import Choices, Declined, install

    config = _for_this_user(_config_to_install(chosen))
    try:
        line = install(config, Choices(chosen.config, asks=not chosen.yes, pairs_again=chosen.pair_again))
    except Declined:
        sys.stderr.write("Nothing was written; y would do it, or --yes where nobody is there to answer.\n")
        return NOT_WELL
    if line is None:
        sys.stdout.write("The relay is set up and stays paired; --pair-again would withdraw the pairing.\n")
    else:
        sys.stdout.write(f"Paste this line into the console within an hour:\n{line}\n")
    return OK


def _config_to_install(chosen: argparse.Namespace) -> RelayConfig:
    """Take what is installed, if anything, and the flags over it."""
    given = {name: value for name in _FLAGS if (value := getattr(chosen, name)) is not None}
    if chosen.embedded:
        given["kind"] = EMBEDDED
    if not chosen.config.exists():
        return config_from_document(given)
    standing = _read(chosen.config)
    if chosen.embedded and not standing.is_embedded:
        raise ConfigError([f"{chosen.config} is a managed relay's; give another --config, --state-dir and --run-dir"])
    checked = config_from_document({"host": standing.host, "kind": standing.kind, **given})
    return replace(standing, **{name: getattr(checked, name) for name in given})


def _run(chosen: argparse.Namespace) -> int:
    import asyncio

    from doorward_relay.daemon import run

    config = _for_this_user(_read(chosen.config))
    if config.is_embedded:
        raise ConfigError([f"{chosen.config} is an embedded relay's; run: doorward-relay serve"])
    asyncio.run(run(config, with_sshd=chosen.with_sshd))
    return OK


def _serve(chosen: argparse.Namespace) -> int:
    import asyncio

    from doorward_relay.daemon import serve

    config = _read(chosen.config)
    if not config.is_embedded:
        raise ConfigError([f"{chosen.config} is a managed relay's; run: doorward-relay run"])
    asyncio.run(serve(config))
    return OK


def _status(chosen: argparse.Namespace) -> int:
    from doorward_relay.status import gather, text_of

    found = gather(_for_this_user(_read(chosen.config)))
    sys.stdout.write(f"{json.dumps(found)}\n" if chosen.json else text_of(found))
    return OK if found["ok"] else NOT_WELL


def _read(path: Path) -> RelayConfig:
    try:
        return config_from_text(path.read_text())
    except FileNotFoundError:
        raise ConfigError([f"{path} is missing; run doorward-relay install"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path} cannot be read: {error}"]) from None


_COMMANDS: Final = {"install": _install, "run": _run, "serve": _serve, "status": _status}
_FLAGS: Final = (
    "host", "listen", "ssh_port", "control_port", "ports", "longest_session_s", "state_dir", "run_dir", "tunnel_user",
    "sshd_program",
)  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="doorward-relay",
        usage=f"doorward-relay install|run|serve|status|hello [options]\n\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="install|run|serve|status|hello")
    _add_install(_add(commands, "install", "set up a relay on this machine"))
    runs = _add(commands, "run", "serve: the daemon")
    runs.add_argument(
        "--with-sshd", action="store_true", help="start the relay's own sshd too, and end it with the daemon"
    )
    _add(commands, "serve", "serve an embedded relay: all of it in one process, under any user")
    status = _add(commands, "status", "what is live here")
    status.add_argument("--json", action="store_true", help="one JSON object")
    _add(commands, "hello", "what a device runs here: hello --socket PATH SESSION")
    return parser


def _add(commands: Any, name: str, does: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(name, help=does, description=does)
    made.add_argument("--config", type=Path, default=DEFAULT_PATH, metavar="FILE", help=f"default: {DEFAULT_PATH}")
    return made


def _add_install(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--embedded", action="store_true", help="one process of this user's, without OpenSSH, root or a system user"
    )
    made.add_argument("--host", metavar="NAME", help="by which devices, engineers and the console reach this relay")
    made.add_argument("--listen", metavar="ADDRESS", help="to bind; default * for all")
    made.add_argument("--ssh-port", type=int, metavar="PORT", help="of the relay's own sshd; default 2222")
    made.add_argument("--control-port", type=int, metavar="PORT", help="of the control API; default 8443")
    made.add_argument("--ports", type=_range, metavar="A-B", help="that devices may be given; default 20000-29999")
    made.add_argument("--longest-session-s", type=int, metavar="SECONDS", help="ceiling for one session; default 86400")
    made.add_argument("--state-dir", metavar="DIR", help="default /var/lib/doorward-relay")
    made.add_argument("--run-dir", metavar="DIR", help="default /run/doorward-relay")
    made.add_argument("--tunnel-user", metavar="NAME", help="default doorward-tunnel; made if it does not exist")
    made.add_argument("--sshd-program", metavar="FILE", help="default /usr/sbin/sshd")
    made.add_argument("--yes", action="store_true", help="do not ask")
    made.add_argument("--pair-again", action="store_true", help="withdraw the pairing; open doors are shut")


def _range(text: str) -> list[int]:
    low, _, high = text.partition("-")
    if not low.isdecimal() or not high.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a range such as 20000-29999")
    return [int(low), int(high)]
