"""``doorward-console migrate``: brings the database to this version's tables; run it once after an update."""

import argparse

from django.core.management import call_command


def run(arguments: argparse.Namespace) -> int:
    """Migrate; gives 0."""
    del arguments
    call_command("migrate", verbosity=1)
    return 0
