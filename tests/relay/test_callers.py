"""Who is connected to the control port, in moments that no real relay can be made to stand still in."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Final

import pytest
from doorward_relay.edges import keys
from doorward_relay.edges.callers import MOST_ARRIVING, Callers, Port
from doorward_relay.edges.conversation import Answer, Conversations, Request

from tests.parts.ports import free_port
from tests.relay.calling import HEALTHZ, Caller, client_context

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]
LIMIT_S: Final = 20


@pytest.fixture
def contexts(scratch: Path) -> Contexts:
    """TLS of a relay that asks for no certificate, and of one who calls it."""
    certificate, key = scratch / "tls.crt", scratch / "tls.key"
    keys.make_tls(certificate, key, "127.0.0.1")
    return keys.unpaired_context(certificate, key), client_context(certificate)


def saying(text: str) -> Conversations:
    """Answer every request with ``text``."""

    async def answer(_: Request) -> Answer:
        return Answer({"said": text})

    return Conversations(answer, lambda status, what: Answer({"said": what}, status=status))


async def listening(callers: Callers) -> tuple[Port, int, list[socket.socket]]:
    """Listen, and keep hold of whoever is taken."""
    taken: list[socket.socket] = []

    def take(caller: socket.socket) -> None:
        taken.append(caller)
        callers.take(caller)

    port, number = Port(take), free_port()
    await port.listen("127.0.0.1", number)
    return port, number, taken


@pytest.mark.parametrize("turns", range(6))
def test_a_caller_when_all_are_cut_after_some_turns_of_the_loop_then_he_is_hung_up_on_or_met_anew(
    contexts: Contexts, turns: int
) -> None:
    """In the backlog, just accepted, not yet met, in his handshake: nobody is forgotten, or answered as before."""
    told = asyncio.run(asyncio.wait_for(_told(contexts, turns), LIMIT_S))
    assert told == b"" or told.endswith(b'"after"}')


async def _told(contexts: Contexts, turns: int) -> bytes:
    own, client = contexts
    standing = [Callers(own, saying("before"))]

    def take(caller: socket.socket) -> None:
        standing[-1].take(caller)

    port, number = Port(take), free_port()
    await port.listen("127.0.0.1", number)
    caller = Caller(number, client)
    for _ in range(turns):
        await asyncio.sleep(0)
    standing.append(Callers(own, saying("after")))
    standing[0].cut()
    told = await asyncio.to_thread(caller.ask, HEALTHZ)
    caller.close()
    port.close()
    return told


def test_a_caller_when_he_says_nothing_then_he_is_cut_when_his_handshake_has_lasted_too_long(
    contexts: Contexts,
) -> None:
    """Strangers who connect and are silent hold no descriptor for ever."""
    assert asyncio.run(asyncio.wait_for(_is_cut_for_his_silence(contexts), LIMIT_S))


async def _is_cut_for_his_silence(contexts: Contexts) -> bool:
    own, client = contexts
    callers = Callers(own, saying("nothing"), handshake_s=0.1)
    port, number, taken = await listening(callers)
    silent = [Caller(number, client), Caller(number, client)]
    await asyncio.to_thread(silent[1].begin)
    are_cut = [await asyncio.to_thread(one.is_cut) for one in silent]
    port.close()
    for one in silent:
        one.close()
    return all(are_cut) and all(one.fileno() == -1 for one in taken)


def test_a_caller_when_many_silent_strangers_came_before_him_then_he_is_served_and_the_oldest_of_them_is_cut(
    contexts: Contexts,
) -> None:
    """A crowd that says nothing neither takes the relay's descriptors nor keeps the console out."""
    held, told = asyncio.run(asyncio.wait_for(_crowd(contexts), LIMIT_S))
    assert held == MOST_ARRIVING
    assert told.endswith(b'"served"}')


async def _crowd(contexts: Contexts) -> tuple[int, bytes]:
    own, client = contexts
    callers = Callers(own, saying("served"))
    port, number, taken = await listening(callers)
    silent = [await asyncio.to_thread(Caller, number, client) for _ in range(MOST_ARRIVING + 10)]
    assert [await asyncio.to_thread(one.is_cut) for one in silent[:10]] == [True] * 10
    held = sum(one.fileno() != -1 for one in taken)
    told = await asyncio.to_thread(silent[-1].ask, HEALTHZ)
    port.close()
    callers.cut()
    for one in silent:
        one.close()
    return held, told
