"""The operators' commands: what each is called, what it does in one line, and its arguments.

The table is read for ``--help`` without loading any of them; a command's module has ``run(arguments) -> int``.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing."""
    del parser


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        module: where its ``run`` stands.
        needs_django: whether configuration and models are loaded before it runs.
    """

    module: str
    summary: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None] = _no_arguments
    needs_django: bool = True


def _init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-dir", type=Path, default=Path("/etc/doorward"), help="default: %(default)s")
    parser.add_argument("--data-dir", type=Path, default=Path("/var/lib/doorward-console"), help="default: %(default)s")
    parser.add_argument("--run-dir", type=Path, default=Path("/run/doorward-console"), help="default: %(default)s")
    parser.add_argument("--address", required=True, help="https address under which people and devices reach it")
    parser.add_argument("--listen", default="127.0.0.1:8000", metavar="HOST:PORT", help="default: %(default)s")
    parser.add_argument("--broker", default="localhost:8883", metavar="HOST:PORT", help="default: %(default)s")
    parser.add_argument("--owner", required=True, metavar="EMAIL", help="the first project's owner")
    parser.add_argument("--project", required=True, metavar="NAME", help="the first project")
    parser.add_argument("--password-file", type=Path, help="the owner's password; without it one is made and printed")
    parser.add_argument("--database", help="sqlite:/PATH or postgresql://…; default: SQLite in the data folder")
    parser.add_argument(
        "--separate",
        nargs="?",
        const="doorward",
        metavar="PREFIX",
        help="make system users PREFIX-web, PREFIX-worker, PREFIX-signer, each with its own keys; needs root",
    )


def _broker_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="where mosquitto.conf, acl and certificates go")
    parser.add_argument("--user", help="the system user that mosquitto runs as; default: mosquitto if there is one")


def _broker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", default="127.0.0.1", metavar="HOST", help="address to bind, empty for all; default: %(default)s"
    )


def _check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")


def _roles(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prefix", default="doorward", help="roles PREFIX-web, PREFIX-worker, PREFIX-signer")


def _verify_history(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="the export, or - for standard input")
    parser.add_argument("--console-key", metavar="KEY", help="the console's record key as you know it (base64)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _export_history(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project", help="the project's id or name; needed when there are several")
    parser.add_argument("--output", metavar="FILE", help="where to write; standard output when not given")


def _restored(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project", help="the project's id or name; all projects when not given")


def _licence_issuer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="where the private key goes; never overwritten")


def _licence(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="the issuer's private key")
    parser.add_argument("--device", required=True, metavar="ID", help="the device's id, as its page shows it")
    parser.add_argument("--until", required=True, metavar="DAY", help="its first moment in UTC is the licence's end")
    parser.add_argument("--least-agent", default="", metavar="VERSION", help="the oldest agent that it is good for")


COMMANDS: Final[dict[str, Command]] = {
    "init": Command(
        "doorward_console.commands.init",
        "Make configuration, keys, database, first owner and first project",
        "doorward-console init --address https://console.example.com --owner aiko@example.com --project plant",
        _init,
        needs_django=False,
    ),
    "serve": Command(
        "doorward_console.commands.serve",
        "Run web, worker and signer in one terminal, for a trial",
        "doorward-console serve",
        needs_django=False,
    ),
    "web": Command("doorward_console.commands.web", "Run the web process", "doorward-console web"),
    "worker": Command(
        "doorward_console.commands.worker", "Run the worker: broker, relays, records", "doorward-console worker"
    ),
    "signer": Command("doorward_console.commands.signer", "Run the signer: decides and signs", "doorward-console signer"),
    "migrate": Command(
        "doorward_console.commands.migrate", "Bring the database to this version's tables", "doorward-console migrate"
    ),
    "check": Command(
        "doorward_console.commands.check", "Say what works, and the next step for what does not",
        "doorward-console check --json", _check,
    ),
    "broker-config": Command(
        "doorward_console.commands.broker_config",
        "Write Mosquitto's configuration and topic rights",
        "doorward-console broker-config /etc/mosquitto/doorward",
        _broker_config,
    ),
    "broker": Command(
        "doorward_console.commands.broker",
        "Run a broker for a trial, where no Mosquitto is installed",
        "doorward-console broker",
        _broker,
        needs_django=False,
    ),
    "roles": Command(
        "doorward_console.commands.roles",
        "Print SQL that gives the three processes PostgreSQL roles of their own",
        "doorward-console roles | psql doorward",
        _roles,
    ),
    "verify-history": Command(
        "doorward_console.commands.verify_history",
        "Check an exported history, with no network and no database",
        "doorward-console verify-history plant.jsonl --console-key BASE64",
        _verify_history,
        needs_django=False,
    ),
    "export-history": Command(
        "doorward_console.commands.export_history",
        "Write a project's history as signed lines for verify-history",
        "doorward-console export-history --project plant --output plant.jsonl",
        _export_history,
    ),
    "licence-issuer": Command(
        "doorward_console.commands.licence_issuer",
        "Make the key with which licences are signed, and print what the console has to know",
        "doorward-console licence-issuer issuer.key",
        _licence_issuer,
        needs_django=False,
    ),
    "licence": Command(
        "doorward_console.commands.licence",
        "Sign a licence file for a device",
        "doorward-console licence --key issuer.key --device d-abcdefgh23456789 --until 2027-12-31 > press-1.licence",
        _licence,
        needs_django=False,
    ),
    "restored": Command(
        "doorward_console.commands.restored",
        "Say that this console was restored from a backup: open a new epoch, before worker and signer start again",
        "doorward-console restored",
        _restored,
    ),
}  # fmt: skip
