"""The probe's calendar by itself, at real ports of this machine."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from doorward_protocol.asked import Asked
from doorward_protocol.grants import Grant, GrantedForward
from doorward_protocol.ids import DeviceId, ProjectId, RelayId, SessionId
from doorward_protocol.records import Fact
from doorward_protocol.revisions import Revision
from doorward_relay.doors import _OWN_KEPT_S, APART_S, Doors

from tests.parts.ports import free_port
from tests.relay.relaying import new_id

MANY = 20


def _grant(port: int, bind: str = "localhost") -> Grant:
    session = SessionId(new_id("s"))
    return Grant(
        ProjectId(new_id("p")), RelayId(new_id("r")), Revision(0, 1), session, DeviceId(new_id("d")), 0, 2**62,
        (GrantedForward("ssh", bind, port),), "token", Asked("aiko", 0, "ticket 4711"),
    )  # fmt: skip


@asynccontextmanager
async def _doors_at(port: int) -> AsyncIterator[list[float]]:
    """Answer with a door's banner; gives the times at which somebody looked."""
    looks: list[float] = []

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        looks.append(time.monotonic())
        writer.write(b"SSH-2.0-OpenSSH_9.2 doorward-token\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    try:
        yield looks
    finally:
        server.close()


async def _until_looked(looks: list[float], times: int) -> None:
    while len(looks) < times:  # noqa: ASYNC110  the server's side is somebody else's loop as far as the calendar knows
        await asyncio.sleep(0.005)


@pytest.mark.feature("B17")
def test_doors_when_many_came_at_once_then_their_steady_looks_keep_a_distance() -> None:
    """A fleet that came back in one second is not looked at in one second, every ten: people type meanwhile."""

    async def looked_at() -> list[float]:
        port, told = free_port(), list[Fact]()
        async with _doors_at(port) as looks:
            doors = Doors("127.0.0.1", told.append, steady_s=0.2)
            grants = [_grant(port) for _ in range(MANY)]
            for grant in grants:
                doors.watch(grant)
            await asyncio.wait_for(_until_looked(looks, 2 * MANY), 20)
            for grant in grants:
                doors.forget(grant.session)
        assert [one.verb for one in told] == ["door.answered"] * MANY
        return looks

    looks = asyncio.run(looked_at())
    assert looks[2 * MANY - 1] - looks[MANY] >= (MANY - 2) * APART_S


def test_doors_when_forgotten_then_nobody_looks_any_more() -> None:
    """A session that is over leaves neither a timer nor a task behind."""

    async def left() -> set["asyncio.Task[None]"]:
        port = free_port()
        async with _doors_at(port) as looks:
            doors = Doors("127.0.0.1", lambda _: None, steady_s=0.05)
            grant = _grant(port)
            doors.watch(grant)
            await asyncio.wait_for(_until_looked(looks, 2), 10)
            doors.forget(grant.session)
            doors.doubt(grant.session)
            for _ in range(3):  # a task that was cancelled ends when the loop comes round to it
                await asyncio.sleep(0)
            return {one for one in asyncio.all_tasks() if one.get_name().startswith("probe")}

    assert not asyncio.run(left())


def test_doors_when_a_probe_was_ours_then_it_is_told_from_a_visitor() -> None:
    """Whom the probe's own address belongs to is known, and nobody else's is."""

    async def known() -> tuple[bool, bool]:
        port, came = free_port(), list[tuple[str, int]]()

        async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            came.append(writer.get_extra_info("peername")[:2])
            writer.write(b"SSH-2.0-OpenSSH_9.2 doorward-token\r\n")
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(answer, "127.0.0.1", port)
        doors = Doors("127.0.0.1", lambda _: None)
        await doors.ask(_grant(port))
        server.close()
        return doors.is_own(*came[0]), doors.is_own("127.0.0.1", port)

    assert asyncio.run(known()) == (True, False)


class _Port:
    """A port that takes everybody and says what it is told to say; nothing, at first."""

    def __init__(self) -> None:
        self.port = free_port()
        self.said = b""
        self.held: asyncio.Event | None = None
        self.looks = 0

    async def listen(self) -> "asyncio.Server":
        return await asyncio.start_server(self._answer, "127.0.0.1", self.port)

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.looks += 1
        if self.held is not None:
            await self.held.wait()
        writer.write(self.said)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def until_looked(self, times: int) -> None:
        wanted = self.looks + times
        while self.looks < wanted:  # noqa: ASYNC110  the server's side is somebody else's loop as far as the calendar knows
            await asyncio.sleep(0.005)


async def _answers(doors: Doors, port: _Port, grant: Grant) -> None:
    port.said = b"SSH-2.0-OpenSSH_9.2 doorward-token\r\n"
    await doors.ask(grant)
    assert grant.session in doors._watched


async def _is_somebody_else(doors: Doors, port: _Port, grant: Grant) -> None:
    port.said = b"SSH-2.0-another\r\n"
    await doors.ask(grant)


async def _is_over(doors: Doors, _: _Port, grant: Grant) -> None:
    doors.forget(grant.session)


async def _is_over_while_it_is_asked(doors: Doors, port: _Port, grant: Grant) -> None:
    port.held = asyncio.Event()
    console = asyncio.create_task(doors.ask(grant))  # the console asks beside the calendar
    await port.until_looked(1)
    doors.doubt(grant.session)
    doors.forget(grant.session)
    port.held.set()
    assert (await console).code == "probe.silent"


async def _is_lost(doors: Doors, _: _Port, grant: Grant) -> None:
    doors.lost(grant)


async def _comes_anew(doors: Doors, _: _Port, grant: Grant) -> None:
    doors.watch(grant)


@pytest.mark.parametrize(
    "ends", [_answers, _is_somebody_else, _is_over, _is_over_while_it_is_asked, _is_lost, _comes_anew]
)
def test_doors_when_a_silence_has_ended_then_it_is_not_counted_any_more(
    ends: Callable[[Doors, _Port, Grant], Awaitable[None]],
) -> None:
    """What is counted of a session goes with the silence, with the tunnel, and with the session; nothing is left of any."""

    async def left() -> tuple[int, dict[SessionId, int]]:
        port = _Port()
        server, grant = await port.listen(), _grant(port.port)
        doors = Doors("127.0.0.1", lambda _: None, steady_s=60)
        doors.watch(grant)
        for _ in range(3):
            await doors.ask(grant)
        counted = doors.unanswered[grant.session]
        await ends(doors, port, grant)
        unanswered = dict(doors.unanswered)
        doors.forget(grant.session)
        server.close()
        loop: Any = asyncio.get_running_loop()
        assert not doors._watched
        assert not [one for one in loop._scheduled if not one.cancelled() and one._callback == doors._look]
        return counted, unanswered

    counted, unanswered = asyncio.run(left())
    assert counted >= 3
    assert unanswered == {}


def test_doors_when_probes_of_ours_are_long_past_then_their_addresses_are_not_kept() -> None:
    """Each look leaves one: a relay makes millions."""

    async def kept() -> set[tuple[str, int]]:
        port = _Port()
        server = await port.listen()
        doors = Doors("127.0.0.1", lambda _: None)
        doors._own.update({("127.0.0.1", n): time.monotonic() - _OWN_KEPT_S - 1 for n in range(1, 1_000)})
        await doors.ask(_grant(port.port))
        server.close()
        return set(doors._own)

    assert len(asyncio.run(kept())) == 1


@pytest.mark.parametrize("host", ["relay..example.com", f"{'x' * 64}.example.com"])
def test_doors_when_the_relays_name_is_none_then_a_door_is_refused_and_asked_again(host: str) -> None:
    """A typing error in the configuration is said as what it brings, and ends no watch."""

    async def told() -> list[str | None]:
        doors, grant = Doors(host, lambda _: None), _grant(free_port(), "*")
        return [(await doors.ask(grant)).code for _ in range(2)]

    assert asyncio.run(told()) == ["probe.refused"] * 2
