"""doorward-relay: the command line. Reads arguments and files, calls the room, turns errors into exit statuses."""

import atexit
import gc
import os
import sys
from importlib.util import find_spec
from typing import Final

from doorward_relay import hello

_NEEDED: Final = ("asyncssh", "cryptography", "h11")


def main() -> None:
    """Run the program; hello goes its own way, because a device waits for it and it needs nothing but the socket."""
    if sys.argv[1:2] == ["hello"] and "--help" not in sys.argv:
        sys.exit(hello.main(sys.argv[2:]))
    missing = [
        name for name in _NEEDED if find_spec(name) is None
    ]  # looked for, not loaded: each command loads its own
    if missing:
        sys.stderr.write(f"doorward-relay: {', '.join(missing)} is missing; install doorward[relay]\n")
        sys.exit(os.EX_UNAVAILABLE)
    gc.disable()  # nothing is garbage that is being loaded; a relay that stays looks from when it serves
    atexit.register(gc.freeze)  # nor is it worth a look when all of it goes
    from doorward_relay.commands import run_command  # late: hello must stay quick

    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
