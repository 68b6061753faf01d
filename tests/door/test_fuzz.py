"""The embedded door against strangers and engineers who say anything: nothing of it is kept, and an engineer comes in all the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.door.standing import Door
from tests.fuzz.channels import messages, polite, say_all
from tests.fuzz.handshakes import handshakes, say
from tests.fuzz.shapes import patient
from tests.fuzz.strangers import conversations_as, talk
from tests.parts.waiting import wait_until

pytestmark = [pytest.mark.real("root", "ssh"), pytest.mark.feature("E9"), pytest.mark.timeout(3600)]
GONE_S = 5
ENGINEERS_KIB = 8192
"""A log-in has threads, and each of malloc's arenas for them fills once: 4 MiB after 3,000 log-ins, 5.7 after 9,000, and no object more."""
GROWTH_KIB = 4096
"""paramiko keeps caches; a hundred strangers who each left a transport behind would cost ten times that."""


def test_door_when_strangers_say_anything_then_it_keeps_nothing_of_it_and_serves(door: Door) -> None:
    """After all of them threads, descriptors and memory are what they were, and the next log-in works."""
    assert door.ssh("true").returncode == 0
    exchanged: list[bool] = []
    threads, descriptors, memory_kib = door.threads(), door.descriptors(), door.memory_kib()

    @given(handshakes)
    @patient
    def throw(handshake: tuple[bytes, list[bytes]]) -> None:
        say(door.port, handshake)
        assert door.program.is_running

    @given(conversations_as(door.login_user))
    @patient
    def talk_on(messages: list[bytes]) -> None:
        exchanged.append(talk(door.port, messages))
        assert door.program.is_running

    throw()
    talk_on()
    assert all(exchanged), "somebody came no further than before"
    wait_until(lambda: door.threads() <= threads, GONE_S, "the strangers' threads to end")
    wait_until(lambda: door.descriptors() <= descriptors, GONE_S, "the strangers' sockets to be closed")
    assert door.memory_kib() - memory_kib < GROWTH_KIB
    assert door.ssh("true").returncode == 0


def test_door_when_an_engineer_says_anything_then_it_keeps_nothing_of_it_and_serves(door: Door) -> None:
    """Clients of every make come in; whatever one of them says ends his own connection at most, and what he started."""
    assert door.ssh("true").returncode == 0
    threads, memory_kib = door.threads(), door.memory_kib()

    @given(st.lists(polite, max_size=8), st.lists(messages, max_size=3))
    @patient
    def throw(first: list[bytes], then: list[bytes]) -> None:
        with door.connect() as client:
            transport = client.get_transport()
            assert transport is not None
            say_all(transport, first + then)
        assert door.program.is_running

    throw()
    wait_until(
        lambda: door.threads() <= threads and not door.children(), GONE_S, "what the engineers left behind to end"
    )
    assert door.memory_kib() - memory_kib < ENGINEERS_KIB
    assert door.ssh("true").returncode == 0
