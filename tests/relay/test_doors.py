"""The probe's calendar by itself, at real ports of this machine."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from doorward_protocol.asked import Asked
from doorward_protocol.grants import Grant, GrantedForward
from doorward_protocol.ids import DeviceId, ProjectId, RelayId, SessionId
from doorward_protocol.records import Fact
from doorward_protocol.revisions import Revision
from doorward_relay.doors import APART_S, Doors

from tests.parts.ports import free_port
from tests.relay.relaying import new_id

MANY = 20


def _grant(port: int) -> Grant:
    session = SessionId(new_id("s"))
    return Grant(
        ProjectId(new_id("p")), RelayId(new_id("r")), Revision(0, 1), session, DeviceId(new_id("d")), 0, 2**62,
        (GrantedForward("ssh", "localhost", port),), "token", Asked("aiko", 0, "ticket 4711"),
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
