"""What this device leads to: its configuration's table, and which addresses a target's name may have."""

import pytest
from doorward_agent.config import AllowedForward, config_from_document
from doorward_agent.edges.target_trial import is_own
from doorward_agent.errors import ConfigError
from doorward_agent.forwarding import may_lead_to, refusal_of

pytestmark = pytest.mark.feature("R6")

DATABASE = AllowedForward("tcp:db.plant.example:5432")
ALLOWED = {"database": DATABASE}


def test_table_when_it_is_written_in_both_ways_then_it_is_read() -> None:
    """A target alone, or with the networks in which its name has to be."""
    table = {"plc": "tcp:10.0.0.7:502", "db": {"target": "tcp:db:5432", "within": ["10.0.0.0/8", "fd00::/8"]}}
    read = config_from_document({"forwards": table}, "test").forwards
    assert read == {
        "plc": AllowedForward("tcp:10.0.0.7:502"),
        "db": AllowedForward("tcp:db:5432", ("10.0.0.0/8", "fd00::/8")),
    }


def test_table_when_it_has_faults_then_all_are_told_at_once_with_the_others() -> None:
    """Each fault names the forward that it is in."""
    table = {
        "ssh": "tcp:10.0.0.7:22",
        "Big": "tcp:10.0.0.7:1",
        "port": "tcp:db:0",
        "odd": "tcp:127.1:80",
        "kind": 7,
        "more": {"target": "tcp:db:1", "without": []},
        "net": {"target": "tcp:db:1", "within": ["10.0.0.1/8", "here"]},
    }
    with pytest.raises(ConfigError) as told:
        config_from_document({"forwards": table, "tunnel": "magic"}, "test")
    said = str(told.value)
    assert [
        name for name in ("ssh", "Big", "port", "odd", "kind", "more", "net") if f"forwards.{name} " not in said
    ] == []
    assert ("10.0.0.1/8" in said, "'here'" in said, "tunnel" in said) == (True, True, True)


@pytest.mark.parametrize("table", [[], "tcp:10.0.0.5:1", {f"n{n}": "tcp:10.0.0.5:1" for n in range(33)}])
def test_table_when_it_is_none_or_too_long_then_refused(table: object) -> None:
    """It is a table, of at most 32 names."""
    with pytest.raises(ConfigError, match="forwards"):
        config_from_document({"forwards": table}, "test")


@pytest.mark.parametrize(
    ("name", "target", "code"),
    [
        ("database", DATABASE.target, None),
        ("database", "tcp:db.plant.example:5433", "forward.other-target"),
        ("database", "ssh", "forward.other-target"),
        ("mail", DATABASE.target, "forward.not-allowed"),
        ("serial", "serial:/dev/ttyS1", "forward.not-allowed"),
    ],
)
@pytest.mark.threat("forward-elsewhere")
def test_forward_when_the_console_asks_for_it_then_the_devices_configuration_decides(
    name: str, target: str, code: str | None
) -> None:
    """A name that it has not, and a name that leads elsewhere, are refused apart."""
    assert refusal_of(name, target, ALLOWED) == code


SPECIAL = [
    "127.0.0.1", "127.5.5.5", "0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.1.1", "224.0.0.1", "255.255.255.255",
    "100.100.100.200", "168.63.129.16", "192.0.0.192", "::1", "::", "fe80::1", "fe80::1%eth0", "ff02::1", "fd00:ec2::254",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
]  # fmt: skip


@pytest.mark.parametrize("address", SPECIAL)
@pytest.mark.threat("name-rebinds")
def test_name_when_it_leads_to_the_device_or_a_clouds_secrets_then_not_allowed(address: str) -> None:
    """In whatever form the address is written, and also where a network is named that holds it."""
    everywhere = AllowedForward(DATABASE.target, ("0.0.0.0/0", "::/0"))
    assert not may_lead_to(address, DATABASE, is_own=False)
    assert not may_lead_to(address, everywhere, is_own=False)


@pytest.mark.parametrize("address", [one for one in SPECIAL if "%" not in one])
def test_address_when_the_configuration_writes_it_literally_then_allowed_and_no_other(address: str) -> None:
    """Whoever configures the device may mean just that; an address leads to itself alone."""
    written = AllowedForward(f"tcp:[{address}]:80" if ":" in address else f"tcp:{address}:80")
    assert may_lead_to(address, written, is_own=True)
    assert not may_lead_to("10.0.0.5", written, is_own=False)


@pytest.mark.parametrize(
    ("address", "within", "is_allowed"),
    [
        ("10.0.0.5", (), True),
        ("203.0.113.9", (), True),
        ("fd00::5", (), True),
        ("10.0.0.5", ("10.0.0.0/24",), True),
        ("10.0.1.5", ("10.0.0.0/24",), False),
        ("::ffff:10.0.0.5", ("10.0.0.0/24",), True),
        ("fd00::5", ("10.0.0.0/24", "fd00::/64"), True),
        ("203.0.113.9", ("10.0.0.0/24", "fd00::/64"), False),
    ],
)
@pytest.mark.threat("name-rebinds")
def test_name_when_networks_are_named_then_it_may_lead_there_alone(
    address: str, within: tuple[str, ...], *, is_allowed: bool
) -> None:
    """A name that suddenly leads to another machine of the customer's network is stopped, where somebody said where it belongs."""
    assert may_lead_to(address, AllowedForward(DATABASE.target, within), is_own=False) is is_allowed


@pytest.mark.threat("name-rebinds")
def test_name_when_it_leads_to_another_of_the_devices_own_addresses_then_not_allowed() -> None:
    """What listens on the device itself is not the customer's network, whichever of its addresses is used."""
    assert not may_lead_to("10.0.0.1", DATABASE, is_own=True)
    assert is_own("127.0.0.1")
    assert not is_own("192.0.2.77")
