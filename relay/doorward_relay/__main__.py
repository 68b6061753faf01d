"""doorward-relay: the command line. Reads arguments and files, calls the room, turns errors into exit statuses."""

import sys
from typing import Final

from doorward_relay import hello

_EXTRA: Final = "doorward-relay needs its extra: pip install 'doorward[relay]' (missing: {})"


def main() -> None:
    """Run the program; hello goes its own way, because a device waits for it and it needs nothing but the socket."""
    if sys.argv[1:2] == ["hello"] and "--help" not in sys.argv:
        sys.exit(hello.main(sys.argv[2:]))
    try:
        from doorward_relay.commands import run_command  # late: hello must stay quick, and the extra may be missing
    except ModuleNotFoundError as missing:
        sys.exit(_EXTRA.format(missing.name))
    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
