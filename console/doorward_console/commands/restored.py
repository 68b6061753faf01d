"""``doorward-console restored``: open a new epoch after a restore, so that devices and relays obey again.

Run it before worker and signer are started again. If devices still refuse orders as older than what they hold, run it
once more: by then they have said, signed, what they hold.
"""

import argparse
import getpass
import sys
from typing import Final

from doorward_console.commands.projects import projects_named
from doorward_console.history.restoring import open_epoch

EXIT_NO_PROJECT: Final = 2


def run(arguments: argparse.Namespace) -> int:
    """Open a new epoch for one project or all."""
    projects = projects_named(arguments.project)
    if not projects:
        sys.stderr.write("There is no such project.\n")
        return EXIT_NO_PROJECT
    for project in projects:
        sys.stdout.write(f"{project}: epoch {open_epoch(project, getpass.getuser())}\n")
    return 0
