"""Pulses are felt a few at a time: nobody waits for a round, and who is in doubt is known."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from doorward_relay.edges.embedded.feeling import ROUND_S, Feeling
from doorward_relay.edges.sock_diag import is_doubtful
from doorward_relay.view import Pulse

from tests.parts.waiting import wait_until

SILENT = Pulse(0, 10, 30_000)


@dataclass
class _Round:
    """Counts who is asked between two turns of the loop."""

    asked: int = 0
    in_one_go: list[int] = field(default_factory=list)

    async def watch(self) -> None:
        while True:
            self.in_one_go.append(self.asked)
            self.asked = 0
            await asyncio.sleep(0)


@dataclass
class _Connection:
    round: _Round
    is_silent: bool = False

    def is_doubtful(self) -> bool:
        self.round.asked += 1
        return self.is_silent

    def pulse(self) -> Pulse | None:
        return SILENT if self.is_silent else Pulse(0, 10, 10)


async def _felt(watched: _Round, feeling: Feeling, rounds: float, least: int = 0) -> None:
    works = [asyncio.create_task(feeling.keep()), asyncio.create_task(watched.watch())]
    for _ in range(20):  # a busy machine's rounds are longer
        await asyncio.sleep(rounds * ROUND_S)  # the subject's own clock: rounds are what is tested
        if sum(watched.in_one_go) >= least:
            break
    for work in works:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work


@pytest.mark.feature("B15")
def test_a_round_when_there_are_thousands_then_all_are_asked_and_few_in_one_go() -> None:
    """Whoever types through one of 5,000 tunnels waits for a part of a round at most."""
    watched = _Round()
    connections = {number: _Connection(watched, is_silent=number == 4_711) for number in range(5_000)}
    feeling = Feeling(connections)
    asyncio.run(_felt(watched, feeling, 1.5, len(connections)))
    assert sum(watched.in_one_go) >= len(connections)
    assert max(watched.in_one_go) <= 100  # half a millisecond
    assert feeling.pulses() == {4_711: SILENT}


def test_a_connection_when_it_is_heard_again_or_gone_then_it_is_not_in_doubt() -> None:
    """Doubt is asked again at the moment of a look: one byte clears it, and nobody is judged by an old pulse."""
    watched = _Round()
    connections = {number: _Connection(watched, is_silent=True) for number in range(3)}
    feeling = Feeling(connections)
    asyncio.run(_felt(watched, feeling, 0.2))
    assert set(feeling.pulses()) == {0, 1, 2}
    connections[1].is_silent = False
    del connections[2]
    assert feeling.pulses() == {0: SILENT, 1: Pulse(0, 10, 10)}
    asyncio.run(_felt(watched, feeling, 1.2))
    assert set(feeling.pulses()) == {0}


def test_a_socket_when_its_other_end_is_silent_then_it_is_doubtful_until_a_byte_comes(
    linked: tuple[socket.socket, socket.socket],
) -> None:
    """The kernel itself counts the silence."""
    ours, theirs = linked
    assert not is_doubtful(ours, 60_000)
    wait_until(lambda: is_doubtful(ours, 200), 5, "silence")
    theirs.sendall(b"x")
    wait_until(lambda: not is_doubtful(ours, 200), 5, "the byte")


@pytest.fixture
def linked() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as theirs:
        ours, _ = server.accept()
        with ours:
            yield ours, theirs
