"""From the API call ON to the door's banner at the relay's port, and from OFF to a closed port.

The anchor is what nobody can go below: ``ssh -N -R`` started cold, with the same key exchange, to an sshd with the managed relay's own
configuration, in front of a door that stands already; from its start to the banner.
"""

import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.report import MOST, Bench, Goal, Report, in_turn, median_ratio, medians, say
from bench.standing import NEEDED, standing_house
from tests.house.house import House
from tests.parts.files import write_whole
from tests.parts.installed import require
from tests.parts.ports import free_port, is_listening
from tests.parts.processes import Programs
from tests.parts.sshd import Sshd, make_ssh_key, start_sshd

GOALS: Final = {
    "open_ratio": Goal(MOST, 1.3, "ON to banner, against a cold ssh -N -R to banner"),
    "shut_s": Goal(MOST, 0.5, "OFF to closed port, s"),
}
ROUNDS, QUICK_ROUNDS = 15, 5
LOOK_S: Final = 0.002
"""Between two looks at the port: a hundredth of what is measured."""
LIMIT_S: Final = 20.0


def measure(report: Report, is_quick: bool) -> None:  # noqa: FBT001  one signature for every bench
    with standing_house() as house:
        anchor = Anchor(house)
        shut: list[float] = []
        opened_and_shut(house)  # connections and caches are warm from here on
        anchor.opened()
        found = in_turn(
            QUICK_ROUNDS if is_quick else ROUNDS,
            {"on_to_banner_s": lambda: opened_and_shut(house, shut), "ssh_cold_to_banner_s": anchor.opened},
        )
    report.found("open_ratio", median_ratio(found["on_to_banner_s"], found["ssh_cold_to_banner_s"]))
    report.found("shut_s", medians({"": shut})[""])
    report.anchors.update(medians(found))


def opened_and_shut(house: House, shut: list[float] | None = None) -> float:
    """Turn the door on and off again; gives how long the banner took, and adds to ``shut`` how long the port stayed."""
    device, port = house.device, house.ports.door
    started = time.monotonic()
    house.console.open_door(device.id, reason="bench")
    opened_s = _until(lambda: shows_banner(port, b"doorward-"), "banner") - started
    house.console.wait_for_door(device.id, "open")
    started = time.monotonic()
    house.console.shut_door(device.id)
    closed_s = _until(lambda: not is_listening(port), "closed port") - started
    house.console.wait_for_door(device.id, "shut")
    if shut is not None:
        shut.append(closed_s)
    return opened_s


class Anchor:
    """``ssh -N -R`` by hand: a key, an sshd as the relay's, and an sshd that stands behind the tunnel."""

    def __init__(self, house: House) -> None:
        self._programs: Programs = house.programs
        self._folder = house.folder / "anchor"
        self._folder.mkdir(mode=0o711)
        public = make_ssh_key(self._folder / "key")
        self._door = start_sshd(house.programs, self._folder / "door", [])
        self._relay = start_sshd(house.programs, self._folder / "relay", [public], _as_managed(house))
        write_whole(self._folder / "known_hosts", self._relay.known_hosts())
        self._port = free_port()

    def opened(self) -> float:
        """Dial, see the door's banner, end; gives the time up to the banner."""
        started = time.monotonic()
        dialled = self._programs.start(
            *dial_words(self._folder, self._relay, self._port, self._door.port), name="anchor"
        )
        try:
            return _until(lambda: shows_banner(self._port, b"SSH-2.0-"), "the anchor's banner") - started
        finally:
            dialled.end()
            _until(lambda: not is_listening(self._port), "the anchor's end")


def dial_words(folder: Path, relay: Sshd, port: int, door_port: int) -> list[str | Path]:
    """Write the command of someone who wants just this tunnel, in the quickest way that ssh has."""
    return [
        require("ssh"), "-F", "none", "-N", "-R", f"*:{port}:127.0.0.1:{door_port}", "-p", str(relay.port), "-i", folder / "key",
        "-o", f"UserKnownHostsFile={folder}/known_hosts", "-o", "GlobalKnownHostsFile=none", "-o", "IdentitiesOnly=yes",
        "-o", "IdentityAgent=none", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "PreferredAuthentications=publickey",
        "-o", "KexAlgorithms=curve25519-sha256", "root@127.0.0.1",
    ]  # fmt: skip


def _as_managed(house: House) -> list[str]:
    """Take over the managed relay's own lines but for places and for who may log in."""
    text = (house.relay_machine.folder / "var/lib/doorward-relay/sshd/sshd_config").read_text()
    text = text.partition("\nMatch ")[0]
    ours = r"^(Port|ListenAddress|HostKey|PidFile|AllowUsers|PermitRootLogin|Pubkey\w+|Authorized\w+|AllowTcpForwarding|GatewayPorts|#.*)\b"
    kept = [line for line in text.splitlines() if line.strip() and not re.match(ours, line) and line[0] != "#"]
    return [*kept, "PermitRootLogin yes", "AllowTcpForwarding remote", "GatewayPorts clientspecified"]


def shows_banner(port: int, text: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
            return text in link.recv(255)
    except OSError:
        return False


def _until(is_so: Callable[[], bool], what: str) -> float:
    """Give the moment at which ``is_so`` is first seen true."""
    ends_at = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < ends_at, f"waited {LIMIT_S} s in vain for {what}"
        time.sleep(LOOK_S)
    return time.monotonic()


BENCH: Final = Bench("door_open", GOALS, NEEDED, measure)

if __name__ == "__main__":
    say("door_open: opening and shutting a real door")
    sys.exit(BENCH.main())
