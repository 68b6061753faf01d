"""``doorward-console licence``: signs a licence file for one device, with an issuer's key and nothing of the console's."""

import argparse
import sys
from datetime import datetime, timezone

from doorward_protocol.ids import is_id
from doorward_protocol.signature import SigningKey

from doorward_console.edges.key_files import secret_from_file
from doorward_console.fleet.licences import Licence, is_version, seal_licence


def run(arguments: argparse.Namespace) -> int:
    """Print the licence; gives 2 for an argument that is none, and raises BadKeyFile."""
    until, least = _time(arguments.until), arguments.least_agent
    faults = [
        *(["--device is no device's id, such as d-abcdefgh23456789"] if not is_id("d", arguments.device) else []),
        *(["--until is no day, such as 2027-12-31"] if until is None else []),
        *(["--least-agent is no version, such as 0.10.0"] if least and not is_version(least) else []),
    ]
    if faults or until is None:
        sys.stderr.write("".join(f"{fault}\n" for fault in faults))
        return 2
    issuer = SigningKey.from_raw(secret_from_file(arguments.key))
    sys.stdout.write(seal_licence(issuer, Licence(arguments.device, until, least)).decode() + "\n")
    return 0


def _time(text: str) -> datetime | None:
    """Read a day (its first moment in UTC) or a time; one without a zone is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
