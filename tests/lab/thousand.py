"""A relay with a thousand devices on it is killed and started again: ``python -m tests.lab.thousand KIND COUNT``.

Both kinds of relay, in a network of their own. A managed relay's tunnels outlive its daemon; an embedded relay's devices dial
again. Afterwards every grant has its listener, no listener is without a grant, and what is ended is shut at once. Prints one
JSON object; fails with what does not hold.
"""

import json
import sys
import time
from typing import Final

from bench.relay_standing import Standing, standing
from tests.parts.alone import enter_own_network
from tests.parts.files import scratch_folder
from tests.parts.processes import Programs
from tests.parts.waiting import wait_until
from tests.relay.relaying import EMBEDDED, listeners_on

FIRST_PORT: Final = 20_000
"""Below those that the kernel gives to whoever dials."""
BACK_S: Final = 60.0


def main(kind: str, count: int) -> int:
    """Do it; the status is 0 when all held."""
    enter_own_network()
    with scratch_folder() as folder:
        programs = Programs(folder)
        try:
            with standing(programs, folder, kind, FIRST_PORT, count) as made:
                made.start_devices()
                made.dial(count)
                print(json.dumps({"devices": count, **restarted(made, count)}), flush=True)
        finally:
            programs.end_all()
    return 0


def restarted(made: Standing, count: int) -> dict[str, float]:
    """Kill the daemon, start it again, and see everything as it was."""
    relay = made.relay
    assert relay.daemon is not None
    before = _listening(made)
    assert before == count, before
    relay.daemon.kill()
    began = time.monotonic()
    relay.start_daemon()
    if relay.kind == EMBEDDED:
        made.up = 0
        made.dial(count)
    wait_until(lambda: _listening(made) == count, BACK_S, f"{count} listeners")
    back_s = time.monotonic() - began
    first = made.granted[0]
    began = time.monotonic()
    assert made.console.end(first.session).json()["ports_free"] is True
    assert not listeners_on(first.forwards[0].port)
    assert _listening(made) == count - 1
    return {"back_s": round(back_s, 2), "shut_s": round(time.monotonic() - began, 3)}


def _listening(made: Standing) -> int:
    from doorward_relay.edges import kernel
    from doorward_relay.view import LISTEN

    ports = {one.local_port for one in kernel.sockets() if one.state == LISTEN}
    return sum(grant.forwards[0].port in ports for grant in made.granted)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
