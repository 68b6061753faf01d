"""The worker and the real managed relay: paired, granted, ended, receipted, and told apart from an impostor."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from doorward_console.declined import Declined
from doorward_console.fleet.models import Relay as Row
from doorward_console.fleet.pairing import pair
from doorward_console.history.export import lines_of
from doorward_console.history.models import Chain
from doorward_console.history.verify import verify
from doorward_protocol.joining import text_from_pairing

from tests.console.conftest import House, make_house
from tests.console.rig import Rig, keep_keys, rig_at
from tests.parts.certificates import make_root
from tests.parts.mosquitto import Broker
from tests.parts.processes import Programs
from tests.relay.relaying import Relay, install_relay
from tests.worlds.scripted_relay import ScriptedRelay, scripted_relay

HERE = "203.0.113.7"


@dataclass
class Line:
    """What ``rig_at`` needs of a relay."""

    line: str


@pytest.fixture
def relay(programs: Programs, scratch: Path) -> Relay:
    made = install_relay(programs, scratch / "relay", range(22000, 22010))
    made.start_sshd()
    made.start_daemon()
    return made


@pytest.fixture
def rig(transactional_db: None, broker: Broker, scratch: Path, relay: Relay) -> Iterator[Rig]:
    with rig_at(broker, Line(text_from_pairing(relay.line)), scratch) as rig:
        yield rig


@pytest.mark.real("mosquitto", "sshd", "root")
@pytest.mark.feature("P11", "B1")
def test_session_when_the_relay_is_the_real_one_then_it_is_granted_ended_and_the_histories_hold(
    rig: Rig, relay: Relay
) -> None:
    """Grant, refusal without a tunnel, end, records and receipts go between the worker and doorward-relay as it is shipped."""
    rig.on()
    order = rig.device.next_order(0)
    session = order.body.session  # type: ignore[union-attr]  # a door order
    rig.device.obeys(order)
    author = f"relay:{rig.house.device.relay_id}"
    rig.wait(lambda: "grant.accepted" in rig.verbs(author), "the relay's record")
    # The relay's record may be heard before the worker has written down that it sent the order.
    rig.wait(lambda: {one["step"] for one in rig.session().steps} >= {"relay-granted", "ordered"}, "both steps")
    status = relay.command("status", "--json")
    assert str(session) in status[1], status
    rig.off()
    closed = rig.wait_state("closed")
    assert closed.relay_shut_at is not None
    rig.wait(lambda: "grant.ended" in rig.verbs(author), "the relay's record")
    assert rig.relay_row.code == ""
    report = verify(list(lines_of(rig.house.project.pk)))
    assert report.holds, report.faults
    assert Chain.objects.get(author=author).n > 0


@pytest.mark.real("mosquitto", "sshd", "root")
@pytest.mark.feature("B8")
def test_pair_when_the_relay_has_a_console_then_that_is_said_and_ones_own_is_named(rig: Rig, relay: Relay) -> None:
    """A line that was used is told apart from a relay that cannot be reached, whoever pastes it."""
    house = rig.house
    with pytest.raises(Declined) as again:
        pair(house.project, text_from_pairing(relay.line), "r2", house.owner, HERE)
    assert again.value.code == "relay.already-paired"
    assert f"This relay is {rig.relay_row.name}," in again.value.message
    other = make_house("another plant")
    keep_keys(other)
    with pytest.raises(Declined) as strangers:
        pair(other.project, text_from_pairing(relay.line), "r2", other.owner, HERE)
    assert strangers.value.code == "relay.already-paired"
    assert rig.relay_row.name not in strangers.value.message


@pytest.mark.real("mosquitto", "sshd", "root")
def test_worker_when_the_relays_daemon_restarts_then_it_goes_on(rig: Rig, relay: Relay) -> None:
    """A relay that was away is talked to again, with the same certificate and the same chain."""
    assert relay.daemon is not None
    relay.daemon.kill()
    rig.wait(lambda: rig.relay_row.code == "relay.unreachable", "its absence")
    relay.start_daemon()
    rig.wait(lambda: rig.relay_row.code == "", "its return")
    rig.on()
    assert rig.device.next_order(0)
    assert not rig.chain(f"relay:{rig.house.device.relay_id}").broken


@pytest.fixture
def scripted(scratch: Path) -> Iterator[ScriptedRelay]:
    with scripted_relay(scratch) as relay:
        yield relay


@pytest.fixture
def ready(house: House) -> House:
    keep_keys(house)
    return house


@pytest.mark.feature("B8")
def test_pair_when_another_certificate_is_shown_then_nothing_is_sent(ready: House, scripted: ScriptedRelay) -> None:
    """The token goes to nobody but the relay whose certificate is on the line."""
    words = scripted.line.split(" ")
    words[3] = "sha256:" + "0" * 64
    with pytest.raises(Declined) as refused:
        pair(ready.project, " ".join(words), "r1", ready.owner, HERE)
    assert refused.value.code == "relay.wrong-certificate"
    assert scripted.calls == []


def test_pair_when_the_relays_certificate_is_out_of_date_then_it_is_the_pinned_one_all_the_same(
    ready: House, scripted: ScriptedRelay
) -> None:
    """Nobody renews what is pinned, and a clock that is years off locks no console out of its relays."""
    scripted.credentials = make_root("relay").server(days=-1)
    pair(ready.project, scripted.line, "r1", ready.owner, HERE)
    assert scripted.paired is not None


def test_pair_when_the_relay_shows_another_host_key_than_the_line_then_it_is_not_kept(
    ready: House, scripted: ScriptedRelay
) -> None:
    """The line came another way than the answer: both have to agree on the ssh host key."""
    scripted.host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    with pytest.raises(Declined) as refused:
        pair(ready.project, scripted.line, "r1", ready.owner, HERE)
    assert refused.value.code == "tunnel.host-key"
    assert not Row.objects.filter(name="r1").exists()


def test_pair_when_done_then_only_public_parts_went_over_and_the_relay_is_pinned(
    ready: House, scripted: ScriptedRelay
) -> None:
    """The relay gets certificates and public keys; the console keeps its certificate, host keys, record key and ports."""
    row = pair(ready.project, scripted.line, "r1", ready.owner, HERE)
    assert scripted.paired is not None
    assert "PRIVATE" not in str(scripted.paired)
    assert set(scripted.paired) == {
        "token", "relay", "project", "epoch", "client_certificate", "grant_key", "record_key", "tunnel_ca",
    }  # fmt: skip
    assert (row.low_port, row.high_port, row.record_key) == (22000, 22999, scripted.key.public)
    assert Chain.objects.get(author=f"relay:{row.pk}").public_key == scripted.key.public
    with pytest.raises(Declined):
        pair(ready.project, scripted.line, "r1", ready.owner, HERE)


@pytest.mark.parametrize(
    ("said", "kept"), [(None, "managed"), ("managed", "managed"), ("embedded", "embedded"), ("plain", "managed")]
)
def test_pair_when_the_relay_says_its_kind_then_it_is_kept(
    ready: House, scripted: ScriptedRelay, said: str | None, kept: str
) -> None:
    """An embedded relay is known as one; one from before relays said so is managed, and nobody talks himself plain."""
    scripted.kind = said
    row = pair(ready.project, scripted.line, "r1", ready.owner, HERE)
    row.refresh_from_db()
    assert row.kind == kept


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("not a line", "relay.not-a-line"),
        ("doorward-relay-1 127.0.0.1 1 sha256:" + "0" * 64 + " " + "a" * 26 + " ssh-ed25519 AAAA", "relay.unreachable"),
    ],
)
def test_pair_when_the_line_is_of_no_use_then_it_says_why(ready: House, line: str, code: str) -> None:
    """What was pasted wrong and what cannot be reached are told apart."""
    with pytest.raises(Declined) as refused:
        pair(ready.project, line, "r1", ready.owner, HERE)
    assert refused.value.code == code


def test_pair_when_the_token_is_refused_then_the_relays_own_code_is_given(
    ready: House, scripted: ScriptedRelay
) -> None:
    """The relay knows why; its code travels unchanged."""
    scripted.refuses["pair"] = "relay.bad-token"
    with pytest.raises(Declined) as refused:
        pair(ready.project, scripted.line, "r1", ready.owner, HERE)
    assert refused.value.code == "relay.bad-token"


def test_pair_when_an_engineer_asks_then_it_is_refused_before_anything_is_sent(
    ready: House, scripted: ScriptedRelay
) -> None:
    """Relays are the owner's and admins' business."""
    stranger = make_house("another plant").owner
    with pytest.raises(Declined) as refused:
        pair(ready.project, scripted.line, "r1", stranger, HERE)
    assert refused.value.code == "signer.not-entitled"
    assert scripted.calls == []
