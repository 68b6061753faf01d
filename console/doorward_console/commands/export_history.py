"""``doorward-console export-history``: write one project's history for ``verify-history``."""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from doorward_console.commands.projects import projects_named
from doorward_console.history.export import lines_of

EXIT_NO_PROJECT: Final = 2


def run(arguments: argparse.Namespace) -> int:
    """Write one project's history."""
    project = _one_project(arguments.project)
    if project is None:
        return EXIT_NO_PROJECT
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
    found = projects_named(wanted)
    if len(found) == 1:
        return found[0]
    sys.stderr.write(
        "There is no such project.\n" if not found else "There are several projects: name one with --project.\n"
    )
    return None
