"""``doorward-console signer``: runs the signer until it is told to stop."""

import argparse


def run(arguments: argparse.Namespace) -> int:
    """Sign; gives 0 after SIGTERM or SIGINT."""
    del arguments
    from doorward_console import signer  # Django's models can only be imported once it is set up

    signer.run()
    return 0
