"""Hello: what a device runs on the relay when its forward was refused (protocol.md §7).

Copied by the daemon to where the tunnel user may read it, and run there by the system's own Python: standard library
only, quick, and no import of doorward. It writes the session that sshd put on its command line to the daemon's socket
and prints the one line that comes back. Who is asking the daemon reads from the kernel (SO_PEERCRED), not from here.
"""

import json
import socket
import sys

LIMIT_S = 12.0
"""A little longer than the daemon takes at most to see a port free."""

USAGE = "usage: hello --socket /run/doorward-relay/hello.sock SESSION"
UNAVAILABLE = {
    "code": "relay.unavailable",
    "next": "Look at the relay: doorward-relay status",
}


def main(arguments: list[str]) -> int:
    """Ask the daemon and print its answer; exit 0 whenever a line was printed, 64 for a wrong command line."""
    if len(arguments) != 3 or arguments[0] != "--socket":
        print(USAGE, file=sys.stderr)  # noqa: T201 - a program's own output
        return 64
    print(ask(arguments[1], arguments[2]), flush=True)  # noqa: T201 - a program's own output
    return 0


def ask(path: str, session: str) -> str:
    """Give the daemon's line, or our own when there is no daemon."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
            daemon.settimeout(LIMIT_S)
            daemon.connect(path)
            daemon.sendall(session.encode() + b"\n")
            with daemon.makefile("r", encoding="utf-8") as answers:
                return answers.readline().strip() or json.dumps(UNAVAILABLE)
    except OSError:
        return json.dumps(UNAVAILABLE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
