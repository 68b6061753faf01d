"""The embedded door against strangers who say anything: nothing of it is kept, and an engineer comes in all the same."""

import pytest
from hypothesis import given

from tests.door.standing import Door
from tests.fuzz.handshakes import handshakes, say
from tests.fuzz.shapes import patient
from tests.fuzz.strangers import conversations_as, talk
from tests.parts.waiting import wait_until

pytestmark = [pytest.mark.real("root", "ssh"), pytest.mark.feature("E9"), pytest.mark.timeout(3600)]
GONE_S = 5
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
