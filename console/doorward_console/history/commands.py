"""Operators' commands about the history: ``verify-history``, ``export-history``, ``restored``.

``register`` adds them to the program's argument parser; each ``run`` is a function of the parsed arguments that gives the exit
status. ``verify-history`` needs nothing but the file: no configuration, no database, no Django.
"""

import argparse
import getpass
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from doorward_console.history.verify import ChainReport, Report, verify

EXIT_BROKEN: Final = 1
EXIT_NO_FILE: Final = 2

NEEDS_DATABASE: Final = frozenset({"export-history", "restored"})
"""Commands before which Django has to be set up."""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands; ``arguments.run(arguments)`` performs the one chosen."""
    check = subparsers.add_parser(
        "verify-history",
        help="check an exported history, with no network and no database",
        description="Check every signature, link and cross-reference of an exported history, and say where it breaks.",
        epilog="Example: doorward-console verify-history plant.jsonl --console-key BASE64   Exit status: 0 it holds, "
        "1 it is broken, 2 the file cannot be read.",
    )
    check.add_argument("file", help="the export, or - for standard input")
    check.add_argument("--console-key", metavar="KEY", help="the console's record key as you know it (base64)")
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.set_defaults(run=run_verify)
    export = subparsers.add_parser(
        "export-history",
        help="write a project's history for verify-history",
        epilog="Example: doorward-console export-history --project p-… --output plant.jsonl",
    )
    export.add_argument("--project", help="the project's id or name; needed when there are several")
    export.add_argument("--output", metavar="FILE", help="where to write; standard output when not given")
    export.set_defaults(run=run_export)
    restored = subparsers.add_parser(
        "restored",
        help="say that this console was restored from a backup",
        description="Open a new epoch above everything that devices and relays have signed for, so that they obey again. "
        "Run it after a restore, before worker and signer are started again; the history shows it. If devices then still "
        "refuse orders as older than what they hold, run it once more: by then they have said what they hold.",
    )
    restored.add_argument("--project", help="the project's id or name; all projects when not given")
    restored.set_defaults(run=run_restored)


def run_verify(arguments: argparse.Namespace) -> int:
    """Check a file and print what came of it."""
    try:
        with _reading(arguments.file) as source:
            report = verify((line.rstrip("\n") for line in source), arguments.console_key)
    except (OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"{arguments.file}: cannot be read ({error}).\n")
        return EXIT_NO_FILE
    text = json.dumps(document_from_report(report)) if arguments.json else text_from_report(report)
    sys.stdout.write(text + "\n")
    return 0 if report.holds else EXIT_BROKEN


@contextmanager
def _reading(name: str) -> Iterator[IO[str]]:
    if name == "-":
        yield sys.stdin
        return
    with Path(name).open(encoding="utf-8", newline="\n") as source:
        yield source


def document_from_report(report: Report) -> dict[str, Any]:
    """Give a report as one JSON object."""
    return {
        "holds": report.holds,
        "project": report.project,
        "records": sum(one.records for one in report.chains),
        "chains": [
            {
                "author": one.author,
                "key": one.key,
                "records": one.records,
                "epoch": one.head.epoch,
                "n": one.head.n,
                "digest": one.head.digest,
                "named_epoch": one.named_epoch,
                "named_n": one.named_n,
            }
            for one in report.chains
        ],
        "restores": [
            {"author": one.author, "epoch": one.epoch, "after": one.after, "lost": one.lost} for one in report.restores
        ],
        "faults": [{"author": one.author, "epoch": one.epoch, "n": one.n, "why": one.why} for one in report.faults],
    }


def text_from_report(report: Report) -> str:
    """Give a report as lines for people."""
    lines = [f"History of project {report.project}" if report.project else "History"]
    lines += [_chain_text(one) for one in report.chains]
    lines += [
        f"  restored: {one.author} went on in epoch {one.epoch} after record {one.after}"
        + (f"; records {one.after + 1} to {one.lost} are lost" if one.lost > one.after else "")
        for one in report.restores
    ]
    lines += [
        f"  BROKEN: {one.author or 'header'} epoch {one.epoch} record {one.n}: {one.why}" for one in report.faults
    ]
    lines.append("The history holds." if report.holds else "The history does NOT hold.")
    return "\n".join(lines)


def _chain_text(one: ChainReport) -> str:
    place = f"{one.head.n}" if not one.head.epoch else f"{one.head.n} of epoch {one.head.epoch}"
    if (one.named_epoch, one.named_n) >= (one.head.epoch, one.head.n):
        rest = "all of it is named by other chains"
    else:
        rest = f"named by other chains up to record {one.named_n}; cutting what comes after would not show"
    return f"  {one.author}: {one.records} records, verified up to record {place}; {rest}; key {one.key}"


def run_export(arguments: argparse.Namespace) -> int:
    """Write one project's history."""
    from doorward_console.history.export import lines_of  # needs Django, which verify-history does without

    project = _one_project(arguments.project)
    if project is None:
        return EXIT_NO_FILE
    if arguments.output is None:
        sys.stdout.writelines(f"{line}\n" for line in lines_of(project))
        return 0
    target = Path(arguments.output)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    with draft.open("x", encoding="utf-8") as out:
        out.writelines(f"{line}\n" for line in lines_of(project))
    draft.replace(target)
    return 0


def _one_project(wanted: str | None) -> str | None:
    found = _projects(wanted)
    if len(found) == 1:
        return found[0]
    sys.stderr.write(
        "There is no such project.\n" if not found else "There are several projects: name one with --project.\n"
    )
    return None


def _projects(wanted: str | None) -> list[str]:
    from django.db.models import Q  # needs Django, which verify-history does without

    from doorward_console.people.models import Project

    every = Project.objects.order_by("id")
    chosen = every if wanted is None else every.filter(Q(pk=wanted) | Q(name=wanted))
    return list(chosen.values_list("pk", flat=True))


def run_restored(arguments: argparse.Namespace) -> int:
    """Open a new epoch for one project or all."""
    from doorward_console.history.restoring import open_epoch  # needs Django, which verify-history does without

    projects = _projects(arguments.project)
    if not projects:
        sys.stderr.write("There is no such project.\n")
        return EXIT_NO_FILE
    for project in projects:
        sys.stdout.write(f"{project}: epoch {open_epoch(project, getpass.getuser())}\n")
    return 0
