"""What goes into the embedded relay's registers comes out again, however it ends: else a relay would be full after weeks."""

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from doorward_relay.edges.embedded.device import MOST_VISITORS, Device, Forward
from doorward_relay.edges.embedded.server import Server
from doorward_relay.edges.embedded.visiting import OPEN_S, Visit

from tests.relay.one_tunnel import Tunnel, hasty, read_all, reset, run, standing_tunnel, until

Way = Callable[[Tunnel], Awaitable[None]]
WAYS: list[Way] = []


def way(one: Way) -> Way:
    WAYS.append(one)
    return one


@way
async def the_visitor_says_no_more(tunnel: Tunnel) -> None:
    reader, writer = await tunnel.visit()
    writer.write_eof()
    await read_all(reader)
    writer.close()


@way
async def the_visitor_resets(tunnel: Tunnel) -> None:
    _, writer = await tunnel.visit()
    reset(writer)


@way
async def the_device_answers_when_the_visitor_was_sent_away(tunnel: Tunnel) -> None:
    await wait_in_vain(tunnel)
    tunnel.may_answer.set()
    await until(lambda: bool(tunnel.doors))


@way
async def the_device_refuses_when_the_visitor_was_sent_away(tunnel: Tunnel) -> None:
    tunnel.is_refusing = True
    await wait_in_vain(tunnel)
    tunnel.may_answer.set()


@way
async def the_device_goes_when_the_visitor_was_sent_away(tunnel: Tunnel) -> None:
    await wait_in_vain(tunnel)
    tunnel.device.abort()


@way
async def the_visitor_leaves_before_he_is_looked_at(tunnel: Tunnel) -> None:
    hasty(tunnel.port)
    await asyncio.sleep(0)
    await the_visitor_says_no_more(tunnel)  # who came after him has been looked at


@way
async def the_device_closes(tunnel: Tunnel) -> None:
    reader, writer = await tunnel.visit()
    tunnel.doors[-1].channel.close()
    await read_all(reader)
    writer.close()


@way
async def the_device_closes_and_the_visitor_still_talks(tunnel: Tunnel) -> None:
    reader, writer = await tunnel.visit()
    tunnel.doors[-1].channel.abort()
    for _ in range(20):
        writer.write(b"x" * 100_000)
        await asyncio.sleep(0)
    await read_all(reader)
    writer.close()


@way
async def the_device_refuses(tunnel: Tunnel) -> None:
    tunnel.is_refusing = True
    reader, writer = await tunnel.visit()
    await read_all(reader)
    writer.close()


@way
async def the_device_goes(tunnel: Tunnel) -> None:
    reader, writer = await tunnel.visit()
    tunnel.device.abort()
    await read_all(reader)
    writer.close()


@way
async def the_device_goes_before_it_has_answered(tunnel: Tunnel) -> None:
    tunnel.may_answer.clear()
    reader, writer = await tunnel.visit()
    tunnel.device.abort()
    await read_all(reader)
    writer.close()


@way
async def the_device_gives_its_port_back(tunnel: Tunnel) -> None:
    assert tunnel.listener is not None
    _, writer = await tunnel.visit()
    tunnel.listener.close()
    await until(lambda: not tunnel.server.look().listeners)
    reset(writer)


@way
async def the_relay_cuts(tunnel: Tunnel) -> None:
    reader, writer = await tunnel.visit()
    tunnel.server.end(tunnel.server.look().tunnels)
    await read_all(reader)
    writer.close()


@way
async def the_grant_ends_before_the_device_has_answered(tunnel: Tunnel) -> None:
    tunnel.may_answer.clear()
    reader, writer = await tunnel.visit()
    tunnel.server.admit(())
    await read_all(reader)
    writer.close()


@way
async def too_many_come(tunnel: Tunnel) -> None:
    visitors = [await tunnel.visit() for _ in range(MOST_VISITORS)]
    reader, writer = await asyncio.open_connection("127.0.0.1", tunnel.port)
    await read_all(reader)
    writer.close()
    for _, one in visitors:
        reset(one)


@way
async def strangers_leave_without_a_word(tunnel: Tunnel) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", tunnel.ssh_port)
    await until(lambda: bool(tunnel.server._strangers))
    reset(writer)
    hasty(tunnel.ssh_port)
    await asyncio.sleep(0)


async def wait_in_vain(tunnel: Tunnel) -> None:
    """Come while the device does not answer, and be sent away after the time that it has for that."""
    tunnel.may_answer.clear()
    reader, writer = await tunnel.visit()
    tunnel.let_pass(OPEN_S)
    await read_all(reader)
    writer.close()
    await until(lambda: not tunnel.server._visits)


@pytest.mark.feature("B17")
@pytest.mark.parametrize("end", WAYS, ids=lambda one: one.__name__)
def test_registers_when_a_visit_has_ended_then_nothing_of_it_is_kept(scratch: Path, end: Way) -> None:
    """Neither while the tunnel stands nor once it is gone, and nothing went wrong in the loop meanwhile."""

    async def ended() -> tuple[dict[str, int], dict[str, int]]:
        async with standing_tunnel(scratch) as tunnel:
            await end(tunnel)
            with_tunnel = await _rest(tunnel.server, of_visits)
            tunnel.device.abort()
            return with_tunnel, await _rest(tunnel.server, of_all)

    assert run(ended()) == ({}, {})


def test_a_device_when_it_answers_nobody_then_no_more_wait_for_it_than_may_visit(scratch: Path) -> None:
    """Each visitor that was sent away has left a question behind; their number is bounded, and an answer makes room."""

    async def come(tunnel: Tunnel, here: int) -> None:
        visitors = [await asyncio.open_connection("127.0.0.1", tunnel.port) for _ in range(MOST_VISITORS // 2)]
        await until(lambda: len(tunnel.server._visits) == here)
        tunnel.let_pass(OPEN_S)
        for reader, writer in visitors:
            await read_all(reader)
            writer.close()

    async def asked() -> tuple[int, int]:
        async with standing_tunnel(scratch) as tunnel:
            tunnel.may_answer.clear()
            for here in (MOST_VISITORS // 2, MOST_VISITORS // 2, 0):
                await come(tunnel, here)
            questions = of_visits(tunnel.server)["asyncssh's channels"]
            tunnel.may_answer.set()
            assert await _rest(tunnel.server, of_visits) == {}
            _, writer = await tunnel.visit()
            reset(writer)
            return questions, len(tunnel.doors)

    assert run(asked()) == (MOST_VISITORS, MOST_VISITORS + 1)


@dataclass(slots=True)
class _Broken:
    """A way that ends in an error that nobody thought of (``visiting.Way``)."""

    here: set[Visit] = field(default_factory=set)
    number: int = 1
    asked_host: str = ""
    port: int = 1

    def came(self, visit: Visit) -> bool:
        self.here.add(visit)
        return True

    def left(self, visit: Visit) -> None:
        self.here.remove(visit)

    async def opened(self, *_: object) -> bool:
        raise ZeroDivisionError


def test_a_visit_when_something_breaks_in_the_middle_then_it_ends_and_the_fault_is_told() -> None:
    """Nobody reads from a visitor who waits for the device's answer, so nobody would see him leave either."""

    said: list[str] = []

    async def broken() -> int:
        loop, way = asyncio.get_running_loop(), _Broken()
        loop.set_exception_handler(lambda _, context: said.append(type(context.get("exception")).__name__))
        server = await loop.create_server(lambda: Visit(way, 1), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await read_all(reader)
        writer.close()
        server.close()
        await until(lambda: not way.here)
        return len(way.here)

    assert run(broken()) == 0
    assert said == ["ZeroDivisionError"]


def of_visits(server: Server) -> dict[str, int]:
    """Count what stands for visits, by where."""
    server.glance()
    view = server.glance()
    connections = [one._connection for one in server._devices.values() if one._connection is not None]
    counted = {
        "shown": len(view.visitors) + len(view.counts),
        "the server's": len(server._visits) + len(server._visited),
        "devices'": sum(len(one.visits) for one in server._devices.values()),
        "asyncssh's channels": sum(len(one._channels) for one in connections),
        "strangers": len(server._strangers),
        "flushes": len([one for one in timers() if one._callback.__name__ == "abort"]),
    }
    left = {name: count for name, count in counted.items() if count}
    return left or alive(Visit)


def of_all(server: Server) -> dict[str, int]:
    """Count what stands for anybody."""
    devices = len(server._devices) + len(server.look().tunnels)
    return of_visits(server) or ({"devices": devices} if devices else alive(Device, Forward))


async def _rest(server: Server, count: Callable[[Server], dict[str, int]]) -> dict[str, int]:
    """Give what is left once it has had time to go: far less than the ten seconds for which a flush would keep it."""
    with suppress(TimeoutError, asyncio.TimeoutError):
        await until(lambda: not count(server), 5)
    return count(server)


def timers() -> list[Any]:
    """List what the loop has still to do."""
    loop: Any = asyncio.get_running_loop()
    return [one for one in loop._scheduled if not one.cancelled()]


def alive(*kinds: type) -> dict[str, int]:
    """Count what is in memory, by kind; never by ``isinstance``, for other tests' lazy objects would be asked what they are."""
    gc.collect()
    return dict(Counter(type(one).__name__ for one in gc.get_objects() if issubclass(type(one), kinds)))
