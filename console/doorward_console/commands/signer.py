"""``doorward-console signer``: runs the signer until it is told to stop."""

import argparse

from django.conf import settings

from doorward_console import signer
from doorward_console.edges.alone import be_alone


def run(arguments: argparse.Namespace) -> int:
    """Sign; gives 0 after SIGTERM or SIGINT; raises AlreadyRunning."""
    del arguments
    be_alone("signer", settings.CONFIG.run_dir)
    signer.run()
    return 0
