"""Devices whose packets vanish, before a relay in a network of their own: ``python -m tests.relay.vanishing KIND FOLDER``.

KIND is ``embedded`` or ``plain``. Prints one JSON object: within how many seconds a port was free, or null where it was not.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tests.parts.alone import black_hole, enter_own_network
from tests.parts.installed import require
from tests.parts.processes import Programs
from tests.parts.sshd import make_ssh_key, start_sshd
from tests.relay.relaying import EMBEDDED, Console, device_for, install_relay, listeners_on

EMBEDDED_S: Final = 60
INTERVAL_S: Final = 1
COUNT_MAX: Final = 2
PLAIN_S: Final = 4 * INTERVAL_S * (COUNT_MAX + 1)
"""Twice what it takes."""


def embedded(programs: Programs, folder: Path) -> dict[str, Any]:
    """Let a device vanish whose port an engineer keeps knocking at."""
    relay = install_relay(programs, folder / "relay", range(21_000, 21_008), EMBEDDED)
    relay.start()
    console = Console(relay, folder)
    console.pair()
    port, granted = relay.ports[0], console.granted(relay.ports[0])
    device = device_for(relay, console, folder, granted.session)
    device.dial()
    assert device.forward(port, 9) == 0
    console.wait_for_verb("tunnel.up", granted.session)
    black_hole(relay.ssh_port)
    with _knocking(port):
        freed_s = _seconds_until(lambda: not listeners_on(port), EMBEDDED_S)
    dead = [one.fact.data["why"] for one in console.records() if one.fact.verb == "tunnel.dead"]
    return {"freed_s": freed_s, "dead": dead}


def plain(programs: Programs, folder: Path) -> dict[str, Any]:
    """Let two devices vanish that hold a port each, and let somebody keep knocking at one of the two."""
    key = folder / "device"
    options = (
        f"ClientAliveInterval {INTERVAL_S}",
        f"ClientAliveCountMax {COUNT_MAX}",
        "GatewayPorts yes",
        "PermitRootLogin yes",
    )
    sshd = start_sshd(programs, folder / "relay", [make_ssh_key(key)], (*options, "StrictModes no"))
    quiet, knocked = 21_000, 21_001
    for port in (quiet, knocked):
        programs.start(
            require("ssh"), "-F", "none", "-N", "-i", key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "-R", f"*:{port}:127.0.0.1:9", "-p", str(sshd.port), "root@127.0.0.1",
        )  # fmt: skip
        assert _seconds_until(lambda port=port: listeners_on(port), 10) is not None  # type: ignore[misc]
    black_hole(sshd.port)
    with _knocking(knocked):
        quiet_s = _seconds_until(lambda: not listeners_on(quiet), PLAIN_S)
        while_knocked_s = _seconds_until(lambda: not listeners_on(knocked), PLAIN_S)
    return {
        "quiet_s": quiet_s,
        "while_knocked_s": while_knocked_s,
        "after_knocking_s": _seconds_until(lambda: not listeners_on(knocked), PLAIN_S),
    }


@contextmanager
def _knocking(port: int) -> Iterator[None]:
    """Let an engineer try to connect several times a second, and keep what he gets."""
    over = threading.Event()
    thread = threading.Thread(target=_knock, args=(port, over), name="knocking", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _knock(port: int, over: threading.Event) -> None:
    held: list[socket.socket] = []
    while not over.wait(INTERVAL_S / 4):
        with suppress(OSError):
            held.append(socket.create_connection(("127.0.0.1", port), 1))
    for one in held:
        one.close()


def _seconds_until(is_so: Callable[[], object], limit_s: float) -> float | None:
    """Give how long it took to become so; None where it did not."""
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > limit_s:
            return None
        time.sleep(0.1)
    return time.monotonic() - began


if __name__ == "__main__":
    kind, place = sys.argv[1], Path(sys.argv[2])
    enter_own_network()
    started = Programs(place)
    try:
        print(json.dumps({"embedded": embedded, "plain": plain}[kind](started, place)))
    finally:
        started.end_all()
