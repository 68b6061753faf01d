"""What one tunnel carries, both ways, against ``ssh -N -R`` as it comes, through the same sshd.

Down is from the device to the engineer, up is to the device. Four tunnels stand side by side in front of one service, each with a real
grant: the anchor, the agent's own tunnel edge dialling with ssh and with paramiko (managed relay), and with ssh to the embedded relay.
They carry in turn. The anchor of the embedded relay is the same one, through the managed relay's sshd.
"""

import queue
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from doorward_agent.config import Config
from doorward_agent.contracts import Dial
from doorward_agent.edges.tunnel import TunnelEdge
from doorward_agent.events import Event, TunnelOpened
from doorward_protocol.orders import Forward, RelayRoute

from bench.report import LEAST, Bench, Goal, Report, in_turn, median_ratio, medians, say
from tests.parts.files import scratch_folder, write_whole
from tests.parts.installed import require
from tests.parts.ports import neighbours
from tests.parts.processes import Programs
from tests.relay.relaying import EMBEDDED, MANAGED, TUNNEL_USER, Console, device_for, install_relay
from tests.relay.serving import Service

GOALS: Final = {
    "ssh_down_ratio": Goal(LEAST, 1.3, "agent's ssh, from the device"),
    "ssh_up_ratio": Goal(LEAST, 1.3, "agent's ssh, to the device"),
    "paramiko_down_ratio": Goal(LEAST, 0.8, "agent's paramiko, from the device"),
    "paramiko_up_ratio": Goal(LEAST, 0.7, "agent's paramiko, to the device"),
    "embedded_relay_ratio": Goal(LEAST, 0.8, "agent's ssh through the embedded relay, the slower way"),
}
ROUNDS, QUICK_ROUNDS = 9, 3
BYTES, QUICK_BYTES = 256_000_000, 64_000_000
BLOCK: Final = bytes(262_144)
DOWN, UP = b"d", b"u"
DIAL_LIMIT_S: Final = 30
_ANCHOR, _SSH, _PARAMIKO, _EMBEDDED = "ssh_as_it_comes", "ssh", "paramiko", "embedded"


def measure(report: Report, is_quick: bool) -> None:  # noqa: FBT001  one signature for every bench
    size = QUICK_BYTES if is_quick else BYTES
    with scratch_folder() as folder, tunnels(folder) as ports:
        ways = {
            f"{name}_{way}": (port, what) for name, port in ports.items() for way, what in (("down", DOWN), ("up", UP))
        }
        for port, what in ways.values():
            carried(port, what, size // 8)  # windows and caches are warm from here on
        measures = {name: partial(carried, port, what, size) for name, (port, what) in ways.items()}
        found = in_turn(QUICK_ROUNDS if is_quick else ROUNDS, measures)
    for name in (_SSH, _PARAMIKO):
        for way in ("down", "up"):
            report.found(f"{name}_{way}_ratio", median_ratio(found[f"{name}_{way}"], found[f"{_ANCHOR}_{way}"]))
    slower = min(median_ratio(found[f"{_EMBEDDED}_{way}"], found[f"{_ANCHOR}_{way}"]) for way in ("down", "up"))
    report.found("embedded_relay_ratio", slower)
    report.anchors.update({f"{name}_mb_per_s": figure for name, figure in medians(found).items()})


@contextmanager
def tunnels(folder: Path) -> Iterator[dict[str, int]]:
    """Open all four; gives the relays' ports by the tunnels' names."""
    programs, edges = Programs(folder), list[TunnelEdge]()
    service = Service(serve)
    try:
        managed, embedded = (_paired(programs, folder, kind) for kind in (MANAGED, EMBEDDED))
        ports = dict(zip((_ANCHOR, _SSH, _PARAMIKO), managed.relay.ports, strict=False))
        ports[_EMBEDDED] = embedded.relay.ports[0]
        _dial_as_it_comes(managed, ports[_ANCHOR], service.port)
        for name, console, tunnel in (
            (_SSH, managed, "ssh"),
            (_PARAMIKO, managed, "paramiko"),
            (_EMBEDDED, embedded, "ssh"),
        ):
            edges.append(_dial_as_agent(console, folder / f"agent-{name}", tunnel, ports[name], service.port))
        yield ports
    finally:
        for edge in edges:
            edge.stop()
        service.shut()
        programs.end_all()


def _paired(programs: Programs, folder: Path, kind: str) -> Console:
    say(f"installing and pairing the {kind} relay")
    home = folder / kind
    home.mkdir(mode=0o711)
    relay = install_relay(programs, home / "relay", neighbours(4), kind)
    relay.start()
    console = Console(relay, home)
    console.pair()
    return console


def _dial_as_it_comes(console: Console, port: int, to: int) -> None:
    """Dial as a person would: ssh's own choice of ciphers and key exchange."""
    relay = console.relay
    device = device_for(relay, console, console.folder, console.granted(port).session)
    options = device.options()[:-2]  # the last pair narrows the key exchange
    relay.programs.start(
        require("ssh"), "-N", "-R", f"*:{port}:127.0.0.1:{to}", *options, device.target, name="anchor"
    ).wait_for_port(port)


def _dial_as_agent(console: Console, folder: Path, tunnel: str, port: int, to: int) -> TunnelEdge:
    """Dial with the agent's own edge."""
    relay, grant = console.relay, console.granted(port)
    device = device_for(relay, console, console.folder, grant.session)
    folder.mkdir(mode=0o700)
    write_whole(folder / "tunnel_key", (console.folder / "device_key").read_bytes(), 0o600)
    came: queue.SimpleQueue[Event] = queue.SimpleQueue()
    edge = TunnelEdge(Config(state_dir=folder, tunnel=tunnel), folder, came.put)
    host_keys = (relay.line.ssh_host_key,)
    route = RelayRoute(
        console.relay_id, "managed", "127.0.0.1", relay.ssh_port, TUNNEL_USER, host_keys, device.certificate
    )
    edge.open(Dial(1, grant.session, route, (Forward("ssh", "ssh", "*", port),)))
    edge.forward(1, to)
    said = came.get(timeout=DIAL_LIMIT_S)
    assert said == TunnelOpened(1), said
    return edge


def serve(one: socket.socket) -> None:
    """Stand on the device: ``d`` and a size asks for so many bytes, ``u`` and a size brings them and wants an answer."""
    asked = one.recv(9, socket.MSG_WAITALL)
    size = int.from_bytes(asked[1:], "big")
    if asked[:1] == DOWN:
        send(one, size)
    else:
        take(one, size)
        one.sendall(b"!")


def carried(port: int, what: bytes, size: int) -> float:
    """Carry ``size`` bytes one way through a tunnel; gives megabytes a second."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as link:
        started = time.monotonic()
        link.sendall(what + size.to_bytes(8, "big"))
        if what == DOWN:
            take(link, size)
        else:
            send(link, size)
            assert link.recv(1) == b"!"
        return size / (time.monotonic() - started) / 1e6


def send(link: socket.socket, size: int) -> None:
    while size > 0:
        piece = BLOCK[:size]
        link.sendall(piece)
        size -= len(piece)


def take(link: socket.socket, size: int) -> None:
    place = bytearray(len(BLOCK))
    while size > 0:
        came = link.recv_into(place)
        assert came, "the tunnel broke"
        size -= came


BENCH: Final = Bench("throughput", GOALS, ("root", "sshd", "ssh", "useradd"), measure)

if __name__ == "__main__":
    sys.exit(BENCH.main())
