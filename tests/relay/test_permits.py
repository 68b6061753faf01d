"""What a device may listen on."""

from dataclasses import replace

import pytest
from doorward_protocol.grants import GrantedForward
from doorward_relay.permits import bind_for

from tests.relay.test_ledger import grant as some_grant


@pytest.mark.parametrize(
    ("granted", "host", "bind"),
    [
        ("*", "", "*"),
        ("*", "*", "*"),
        ("*", "0.0.0.0", "*"),
        ("*", "::", "*"),
        ("*", "localhost", "localhost"),
        ("*", "203.0.113.9", None),
        ("*", "relay.example.com", None),
        ("localhost", "localhost", "localhost"),
        ("localhost", "", None),
        ("localhost", "0.0.0.0", None),
        ("localhost", "127.0.0.2", None),
    ],
)
def test_a_forward_when_it_is_asked_for_then_the_grant_says_where(granted: str, host: str, bind: str | None) -> None:
    """An address is a word to be compared; narrower than granted is allowed, wider never."""
    given = replace(some_grant(), forwards=(GrantedForward("ssh", granted, 20_000),))
    assert bind_for(given, host, 20_000) == bind
    assert bind_for(given, host, 20_001) is None
