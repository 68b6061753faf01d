"""Targets of named forwards, as they are written."""

import pytest
from doorward_protocol.fields import Malformed
from doorward_protocol.rehearsal import Step
from doorward_protocol.targets import (
    Target,
    Tried,
    is_forward_name,
    result_from_tried,
    target_from_text,
    tried_from_result,
)

pytestmark = pytest.mark.feature("R6")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("tcp:10.0.0.5:5432", Target("10.0.0.5", 5432)),
        ("tcp:db.plant.example:5432", Target("db.plant.example", 5432)),
        ("tcp:plc_7:502", Target("plc_7", 502)),
        ("tcp:[fd00::5]:5432", Target("fd00::5", 5432)),
    ],
)
def test_target_when_it_is_written_as_documented_then_it_is_read(text: str, target: Target) -> None:
    """A name, an IPv4 address, an IPv6 address in brackets; and a port."""
    assert target_from_text(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "", "ssh", "tcp:db", "tcp:db:0", "tcp:db:65536", "tcp:db:05432", "udp:db:53", "tcp::5432", "tcp:a b:1", "tcp:db:5432\n",
        "tcp:127.1:80", "tcp:2130706433:80", "tcp:0x7f.1:80", "tcp:127.0.0.0x1:80", "tcp:010.0.0.1:80", "tcp:1.2.3.256:80",
        "tcp:-oProxyCommand=x:80", "tcp:db-:80", f"tcp:{'a' * 64}:80", "tcp:fd00::5:80", "tcp:[fd00::5%eth0]:80",
    ],
)  # fmt: skip
def test_target_when_it_is_written_otherwise_then_it_is_none(text: str) -> None:
    """Neither what a resolver might take for an address, nor what ssh might take for an option."""
    with pytest.raises(Malformed):
        target_from_text(text)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("database", True), ("plc-7", True), ("7", True), ("ssh", False), ("", False), ("Db", False), ("-a", False), ("a-", False), ("a" * 41, False)],
)  # fmt: skip
def test_name_when_it_is_tried_then_only_small_letters_digits_and_inner_hyphens_name_a_forward(
    name: str, *, is_one: bool
) -> None:
    """A name stands in command lines, addresses and histories; ``ssh`` is the door's."""
    assert is_forward_name(name) is is_one


def test_result_when_it_is_written_and_read_then_it_is_the_same() -> None:
    """What the device tells is what the console shows."""
    tested = Tried("db", "tcp:db:1", "10.0.0.5", (Step("resolve", 3), Step("connect", 9, "forward.unreachable")))
    assert tried_from_result(result_from_tried(tested)) == tested
    assert tested.code == "forward.unreachable"
