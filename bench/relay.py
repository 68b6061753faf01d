"""What tunnels cost an embedded relay, how its people fare when thousands are open, and how soon dead ones are gone.

Anchor: the managed relay's sshd with 400 tunnels in the same run. Devices are asyncssh clients in a few processes; those that
are cut off or reboot are the ssh program, and their packets really vanish.
"""

import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.echo import Visitors
from bench.relay_standing import Standing, peer_ports, standing
from bench.report import MOST, Bench, Goal, Report, say
from tests.parts.alone import black_hole, enter_own_network
from tests.parts.files import scratch_folder
from tests.parts.processes import Programs
from tests.parts.waiting import wait_until
from tests.relay.relaying import EMBEDDED, MANAGED, Device, device_for, listeners_on

FEW, AT_ONCE = 100, 400
"""Open when echoes are first measured; dialling at once."""
STEPS = (1, 10, FEW)
KIB, SETUP, ECHO = "KiB a tunnel", "set-up, ms of processor", "echo p99, ms"
VISITORS = 20
TAKEOVERS = 5
SPARE = 10
"""Grants that no device of the fleet holds, for those that reboot or vanish."""
GIVEN_UP_S = 90


def measure(report: Report, quick: bool) -> None:  # noqa: FBT001  the harness's
    enter_own_network()
    with scratch_folder() as folder:
        programs = Programs(folder)
        try:
            _measure(report, programs, folder, 1000 if quick else 5000, 2.0 if quick else 4.0)
        finally:
            programs.end_all()


def _measure(report: Report, programs: Programs, folder: Path, most: int, seconds: float) -> None:
    with standing(programs, folder, EMBEDDED, 22_000, most + SPARE) as ours:
        _fleet(report, ours, most, seconds)
        with standing(programs, folder, MANAGED, 20_000, AT_ONCE + SPARE) as anchor:
            _anchor(report, anchor)
        report.found("takeover_s", _takeover_s(ours))
        with standing(programs, folder, MANAGED, 21_000, SPARE) as small:
            report.found("managed_takeover_s", _takeover_s(small))
            _half_open(report, ours, small)


def _fleet(report: Report, ours: Standing, most: int, seconds: float) -> None:
    ours.start_devices()
    for total in STEPS:
        _step(report, ours, total, seconds)
    few_kib = (
        ours.pss_kib()
    )  # before so many, pages that the start left go back to the kernel: an empty relay is no base
    before_s = ours.cpu_s()
    report.found("up_400_s", ours.dial(FEW + AT_ONCE, at_once=AT_ONCE))
    report.found("setup_cpu_ms", (ours.cpu_s() - before_s) / AT_ONCE * 1000)
    for total in sorted({1000, most}):
        _step(report, ours, total, seconds)
        report.grown(KIB, total, (ours.pss_kib() - few_kib) / (total - FEW))
    report.found("pss_kib_per_tunnel", report.growth[KIB][most])
    report.found("echo_p99_ratio", report.growth[ECHO][most] / report.growth[ECHO][FEW])
    report.notes.append(
        f"the relay with {most} tunnels: {ours.pss_kib() / 1024:.0f} MiB, {few_kib / 1024:.0f} with {FEW}"
    )


def _step(report: Report, ours: Standing, total: int, seconds: float) -> None:
    """Dial until so many are up, and listen to echoes."""
    before_s, more = ours.cpu_s(), total - ours.up
    ours.dial(total)
    report.grown(SETUP, total, (ours.cpu_s() - before_s) / more * 1000)
    report.grown(ECHO, total, _echo_p99_ms(ours, seconds))


def _echo_p99_ms(ours: Standing, seconds: float) -> float:
    """Give the median of five p99s, over visitors spread evenly over what is open."""
    wait_until(partial(_is_settled, ours), 120, "the relay to have done with those who dialled")
    visitors = Visitors([one.forwards[0].port for one in ours.granted[: ours.up : max(1, ours.up // VISITORS)]])
    try:
        found = [visitors.p99_ms(seconds) for _ in range(5)]
    finally:
        visitors.close()
    say(f"{ours.up} open: echo p99 " + " ".join(f"{one:.1f}" for one in found) + " ms")
    return statistics.median(found)


def _is_settled(ours: Standing) -> bool:
    """Whether each door has answered its first probe: until then the relay is busy with newcomers."""
    before = ours.cpu_s()
    time.sleep(1)
    return ours.cpu_s() - before < 0.7


def _anchor(report: Report, anchor: Standing) -> None:
    anchor.start_devices()
    empty_kib, before_s = anchor.pss_kib(), anchor.cpu_s()
    report.anchors["managed_up_400_s"] = anchor.dial(AT_ONCE, at_once=AT_ONCE)
    report.anchors["managed_setup_cpu_ms"] = (anchor.cpu_s() - before_s) / AT_ONCE * 1000
    report.anchors["managed_pss_kib_per_tunnel"] = (anchor.pss_kib() - empty_kib) / AT_ONCE


def _opened(at: Standing, n: int) -> tuple[Device, int]:
    """Open the n-th spare session with the ssh program; gives the device, and its own port of the connection."""
    grant = at.granted[-1 - n]
    before = peer_ports(at.relay.ssh_port)
    device = device_for(at.relay, at.console, at.console.folder, grant.session)
    device.dial()
    assert device.forward(grant.forwards[0].port, 9) == 0
    return device, next(iter(peer_ports(at.relay.ssh_port) - before))


def _takeover_s(at: Standing) -> float:
    """Give the median time from dialling anew to the port, while the old connection's packets vanish."""
    found = []
    for n in range(TAKEOVERS):
        port = at.granted[-1 - n].forwards[0].port
        _, old = _opened(at, n)
        black_hole(old)
        again = device_for(at.relay, at.console, at.console.folder, at.granted[-1 - n].session)
        began = time.monotonic()
        again.dial()
        assert again.forward(port, 9) != 0
        assert again.hello()["code"] == "relay.port-freed"
        assert again.forward(port, 9) == 0
        found.append(time.monotonic() - began)
    return statistics.median(found)


def _half_open(report: Report, *relays: Standing) -> None:
    """Let a device vanish on each relay while an engineer knocks; the slower one counts."""
    with ThreadPoolExecutor(len(relays)) as both:
        found = dict(zip((one.relay.kind for one in relays), both.map(_half_open_s, relays), strict=True))
    report.found("half_open_s", max(found.values()))
    report.notes.append("half-open: " + ", ".join(f"{kind} {took_s:.1f} s" for kind, took_s in found.items()))


def _half_open_s(at: Standing) -> float:
    n = TAKEOVERS
    port = at.granted[-1 - n].forwards[0].port
    _, own = _opened(at, n)
    at.console.wait_for_verb("tunnel.up", at.granted[-1 - n].session, 30)
    black_hole(own)
    began = time.monotonic()
    with _knocking(port):
        wait_until(lambda: not listeners_on(port), GIVEN_UP_S, "the port to be free")
    return time.monotonic() - began


@contextmanager
def _knocking(port: int) -> Iterator[None]:
    over, held = threading.Event(), list[socket.socket]()

    def knock() -> None:
        while not over.wait(0.5):
            with suppress(OSError):
                held.append(socket.create_connection(("127.0.0.1", port), 1))

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for one in held:
            one.close()


GOALS = {
    "pss_kib_per_tunnel": Goal(MOST, 30, "KiB of the embedded relay for each tunnel beyond the first hundred"),
    "setup_cpu_ms": Goal(MOST, 3.5, "ms of its processor to bring one up"),
    "up_400_s": Goal(MOST, 2.5, "s until 400 that dial at once are up"),
    "echo_p99_ratio": Goal(MOST, 3, "echo p99 with all open over 100 open"),
    "takeover_s": Goal(MOST, 1, "s until a rebooted device is back on its port"),
    "managed_takeover_s": Goal(MOST, 5, "the same beside OpenSSH"),
    "half_open_s": Goal(MOST, 35, "s until a vanished device's port is free, somebody knocking"),
}
BENCH = Bench("relay", GOALS, ("root", "sshd", "ssh", "useradd", "nft", "ip"), measure)

if __name__ == "__main__":
    raise SystemExit(BENCH.main())
