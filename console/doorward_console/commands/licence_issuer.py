"""``doorward-console licence-issuer``: makes the key with which licences are signed, and says what to configure."""

import argparse
import sys

from doorward_protocol.signature import SigningKey

from doorward_console.edges.key_files import SECRET_MODE, write_new


def run(arguments: argparse.Namespace) -> int:
    """Write the private key, readable by its owner alone, and print the public one; gives 1 when the file is there."""
    issuer = SigningKey.generate()
    try:
        write_new(arguments.file, issuer.raw(), SECRET_MODE)
    except OSError as error:
        sys.stderr.write(f"{arguments.file}: {error.strerror or 'is there already; nothing was overwritten'}\n")
        return 1
    sys.stderr.write(f"The private key is in {arguments.file}: keep it away from the console. In its configuration:\n")
    sys.stdout.write(f'licence_issuers = ["{issuer.public}"]\n')
    return 0
