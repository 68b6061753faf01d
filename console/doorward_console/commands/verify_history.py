"""``doorward-console verify-history``: check an exported history with no configuration, no database and no network.

Exit status: 0 it holds, 1 it is broken, 2 the file cannot be read.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from doorward_console.history.verify import ChainReport, Report, verify

EXIT_BROKEN: Final = 1
EXIT_NO_FILE: Final = 2


def run(arguments: argparse.Namespace) -> int:
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
