"""``doorward-console worker``: runs the worker until it is told to stop."""

import argparse

from django.conf import settings

from doorward_console.edges.alone import be_alone
from doorward_console.worker.process import work


def run(arguments: argparse.Namespace) -> int:
    """Work; gives 0 after SIGTERM or SIGINT; raises AlreadyRunning."""
    del arguments
    be_alone("worker", settings.CONFIG.run_dir)
    work()
    return 0
