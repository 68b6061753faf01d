"""``doorward-console worker``: runs the worker until it is told to stop."""

import argparse

from doorward_console import worker


def run(arguments: argparse.Namespace) -> int:
    """Work; gives 0 after SIGTERM or SIGINT."""
    del arguments
    worker.run()
    return 0
