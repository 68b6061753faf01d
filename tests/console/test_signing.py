"""The signer: what an intent becomes, each refusal, and that what it signs verifies."""

import base64
import json
import subprocess
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.fleet.models import Device, Relay
from doorward_console.history.models import Pending
from doorward_console.keys.making import ensure_root, ensure_signer_keys
from doorward_console.keys.models import EngineerPair
from doorward_console.keys.opening import SignerKeys, public_part
from doorward_console.maintenance.asking import extend, turn_off, turn_on
from doorward_console.maintenance.decisions import Ceilings
from doorward_console.maintenance.documents import asking as documents
from doorward_console.maintenance.models import Desired, Grant, Intent, Order, Session
from doorward_console.maintenance.signing import Signer, decide, sign_again
from doorward_console.people.members import Who
from doorward_console.people.models import Member
from doorward_console.signer import look
from doorward_protocol.envelope import decode
from doorward_protocol.grants import grant_from_envelope
from doorward_protocol.ids import ProjectId, RelayId, SessionId
from doorward_protocol.orders import OpenDoor, ShutDoor, order_from_payload
from doorward_protocol.orders import Order as OrderMessage
from doorward_protocol.signature import KeyRing

from tests.console.conftest import FOLDER, House, make_house

HERE = "203.0.113.7"
CEILINGS = Ceilings()


@pytest.fixture
def signer(transactional_db: None) -> Signer:
    """A signer with the scratch installation's wrapping key."""
    return new_signer()


def new_signer() -> Signer:
    keys = SignerKeys(wrapping_key_from_file(FOLDER / "signer_key"))
    ensure_root(keys.wrapping)
    return Signer(keys, CEILINGS)


def asked(house: House, duration_s: int = 600) -> Intent:
    intent = turn_on(house.device, house.owner, HERE, duration_s, "ticket 4711")
    assert isinstance(intent, Intent)
    return intent


def decided(signer: Signer, intent: Intent) -> Intent:
    ensure_signer_keys(intent.project, signer.keys.wrapping)
    decide(signer, intent.id)
    intent.refresh_from_db()
    return intent


def message_of(order: Order) -> OrderMessage:
    ring = KeyRing([public_part("grant", order.device.project_id)])
    return order_from_payload(ring.verify(decode(bytes(order.envelope or b""), expected="order")))


@pytest.mark.feature("E3")
def test_on_when_all_is_well_then_session_order_and_grant_verify(house: House, signer: Signer) -> None:
    """An ON becomes a session, an order with the device's nonces, and a grant; both verify with the grant key."""
    intent = decided(signer, asked(house))
    assert intent.state == "done"
    session = Session.objects.get()
    assert (session.state, session.id) == ("opening", (intent.values or {})["session"])
    order = message_of(Order.objects.get())
    assert (order.nonce, order.runner_nonce) == ("n" * 22, "r" * 22)
    body = order.body
    assert isinstance(body, OpenDoor)
    assert (body.session, body.forwards[0].port, body.asked.reason) == (session.id, 22001, "ticket 4711")
    assert order.digest == Desired.objects.get().digest
    row = Grant.objects.get()
    grant = grant_from_envelope(
        bytes(row.envelope), KeyRing([public_part("grant", house.project.id)]),
        relay=RelayId(house.relay.id), project=ProjectId(house.project.id),
    )  # fmt: skip
    assert (grant.session, grant.sequence, grant.banner) == (session.id, (0, 1), session.banner)
    assert Pending.objects.filter(verb="session.ordered", session=session.id).exists()


def test_on_when_device_is_away_then_no_order_yet(house: House, signer: Signer) -> None:
    """A device that is not connected is told when it asks: desired is written, nothing is signed for old nonces."""
    Device.objects.update(presence="away")
    decided(signer, asked(house))
    assert Desired.objects.filter(part="door", session__isnull=False).exists()
    assert not Order.objects.exists()


def no_role(house: House) -> None:
    Member.objects.update(role="engineer")


def member_left(house: House) -> None:
    Member.objects.all().delete()


def account_off(house: House) -> None:
    house.owner.is_active = False
    house.owner.save()


def blocked(house: House) -> None:
    Device.objects.update(state="blocked")


def not_joined(house: House) -> None:
    Device.objects.update(state="added")


def no_relay(house: House) -> None:
    Device.objects.update(relay=None)


def no_port(house: House) -> None:
    Device.objects.update(relay_port=None)


def relay_removed(house: House) -> None:
    Relay.objects.update(removed_at=timezone.now())


def relay_of_another_project(house: House) -> None:
    Relay.objects.filter(id=house.relay.id).update(name="elsewhere", project=make_house("other").project)


def not_paired(house: House) -> None:
    Relay.objects.update(paired_at=None)


def no_keys(house: House) -> None:
    house.pair.delete()


def port_in_use(house: House) -> None:
    other = make_house("neighbour")
    now = timezone.now()
    Session.objects.create(
        project=other.project, device=other.device, relay=house.relay, relay_port=22001, bind="*", login_user="x",
        state="open", asked_by_name="x", requested_at=now, duration_s=60, ends_at=now, banner="b",
    )  # fmt: skip


def asked_long_ago(house: House) -> None:
    Intent.objects.update(at=timezone.now() - timedelta(minutes=2, seconds=1))


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (no_role, "signer.not-entitled"),
        (member_left, "signer.not-entitled"),
        (account_off, "signer.not-entitled"),
        (asked_long_ago, "signer.too-old"),
        (blocked, "signer.blocked"),
        (not_joined, "signer.not-joined"),
        (no_relay, "signer.no-relay"),
        (no_port, "signer.no-relay"),
        (relay_removed, "signer.no-relay"),
        (relay_of_another_project, "signer.no-relay"),
        (not_paired, "relay.not-paired"),
        (no_keys, "signer.no-keys"),
        (port_in_use, "signer.port-taken"),
    ],
)
def test_on_when_something_is_wrong_then_refused_with_its_code(
    house: House, signer: Signer, spoil: Any, code: str
) -> None:
    """Each reason not to open is found by the signer itself, recorded, and nothing is signed."""
    intent = asked(house)
    spoil(house)
    assert (decided(signer, intent).state, intent.code) == ("refused", code)
    assert not Order.objects.exists()
    assert not Grant.objects.exists()
    assert Pending.objects.get(verb="session.refused").data["code"] == code


def test_on_when_longer_than_the_ceiling_then_refused(house: House, signer: Signer) -> None:
    """Whatever web allows, the signer's own file has the last word on duration."""
    intent = decided(signer, asked(house, CEILINGS.longest_session_s + 1))
    assert intent.code == "signer.too-long"


def test_on_when_too_many_are_open_then_refused(house: House, signer: Signer) -> None:
    """The number of open doors has a ceiling of its own."""
    neighbour = make_house("neighbour")
    assert decided(signer, asked(neighbour)).state == "done"
    narrow = replace(signer, ceilings=Ceilings(most_open_sessions=1))
    assert decided(narrow, asked(house)).code == "signer.too-many"


def test_off_when_open_then_device_is_told_to_shut(house: House, signer: Signer) -> None:
    """OFF becomes a shut order with the next revision; nothing is wanted open any more."""
    decided(signer, asked(house))
    session = turn_off(house.device, house.owner, HERE)
    look(signer)
    order = message_of(Order.objects.get(state="signed"))
    assert order.body == ShutDoor(SessionId(str(session.id)))
    assert order.revision == (0, 2)
    assert Desired.objects.get().session is None
    assert Intent.objects.get(kind="off").state == "done"


def test_session_when_ended_by_itself_then_device_is_told_to_shut(house: House, signer: Signer) -> None:
    """A session that expired or failed is not wanted open any more, though nobody asked for OFF."""
    decided(signer, asked(house))
    Session.objects.update(state="closed", code="session.expired")
    look(signer)
    assert Desired.objects.get().session is None
    assert isinstance(message_of(Order.objects.get(state="signed")).body, ShutDoor)


def test_on_when_last_session_still_closes_then_waits_for_its_end(house: House, signer: Signer) -> None:
    """An ON during closing is decided when the old session has closed."""
    decided(signer, asked(house))
    turn_off(house.device, house.owner, HERE)
    intent = asked(house)
    look(signer)
    intent.refresh_from_db()
    assert intent.state == "asked"
    Session.objects.update(state="closed")
    look(signer)
    intent.refresh_from_db()
    assert intent.state == "done"
    assert Session.objects.filter(state="opening").count() == 1


def test_extend_when_open_then_same_session_new_end_and_higher_numbers(house: House, signer: Signer) -> None:
    """An extension keeps the session and raises its end, the revision and the grant's sequence."""
    decided(signer, asked(house, 600))
    before = Session.objects.get().ends_at
    Session.objects.update(requested_at=timezone.now() - timedelta(seconds=500))
    decided(signer, extend(house.device, house.owner, HERE, 1200))
    session = Session.objects.get()
    assert session.ends_at > before
    body = message_of(Order.objects.get(state="signed")).body
    assert isinstance(body, OpenDoor)
    assert body.session == session.id
    assert body.duration_s == pytest.approx(1700, abs=2), "a device counts the whole length from the first order"
    assert list(Grant.objects.order_by("id").values_list("sequence", flat=True)) == [1, 2]


@pytest.mark.threat("web-process-silent-key")
def test_on_when_ordered_then_the_history_names_the_keys_that_can_log_in(house: House, signer: Signer) -> None:
    """Every key that an order lets in stands in the signer's record, by the name that ssh-keygen gives it."""
    decided(signer, asked(house, 600))
    pair = EngineerPair.objects.get()
    said = subprocess.run(
        ["/usr/bin/ssh-keygen", "-lf", "-"], input=pair.public_key.encode(), capture_output=True, check=True
    )
    ordered = Pending.objects.get(verb="session.ordered")
    assert ordered.data["keys"] == [said.stdout.decode().split()[1]]


def test_on_when_its_time_is_to_come_then_refused(house: House, signer: Signer) -> None:
    """Web cannot move what ceilings count from by dating what it asks into the future."""
    intent = asked(house, 600)
    Intent.objects.filter(pk=intent.pk).update(at=timezone.now() + timedelta(days=3650))
    assert decided(signer, intent).code == "signer.too-old"
    assert not Session.objects.exists()


def test_extend_when_the_relay_was_removed_then_refused(house: House, signer: Signer) -> None:
    """Nothing more is signed for a relay that was taken out of use."""
    decided(signer, asked(house, 600))
    Relay.objects.update(removed_at=timezone.now())
    assert decided(signer, extend(house.device, house.owner, HERE, 1200)).code == "signer.no-relay"


def test_extend_when_beyond_the_ceiling_then_refused_and_unchanged(house: House, signer: Signer) -> None:
    """Extensions count from the first request: no chain of them goes past the ceiling."""
    decided(signer, asked(house, 600))
    Session.objects.update(requested_at=timezone.now() - timedelta(seconds=CEILINGS.longest_session_s - 900))
    before = Session.objects.get().ends_at
    assert decided(signer, extend(house.device, house.owner, HERE, 1000)).code == "signer.too-long"
    assert Session.objects.get().ends_at == before


def test_settings_when_asked_then_revision_of_their_own_and_order_for_the_runner_too(
    house: House, signer: Signer
) -> None:
    """Settings have a revision of their own, and the runner tries them: its nonce is answered like the agent's."""
    decided(signer, documents.ask(house.device, documents.Change({"level": "debug"}), Who(house.owner, HERE)))
    order = message_of(Order.objects.get())
    assert (order.part, order.revision, order.runner_nonce) == ("settings", (0, 1), house.device.runner_nonce)
    assert json.loads(order.body_text) == {"values": {"level": "debug"}}


@pytest.mark.parametrize(("spoil", "code"), [(no_role, "signer.not-entitled"), (blocked, "signer.blocked")])
def test_settings_when_something_is_wrong_then_refused(house: House, signer: Signer, spoil: Any, code: str) -> None:
    """Settings, too, are signed only for who may ask for them now, and not for a blocked device."""
    intent = documents.ask(house.device, documents.Change({"level": "debug"}), Who(house.owner, HERE))
    spoil(house)
    assert decided(signer, intent).code == code
    assert not Desired.objects.exists()


def test_order_when_asked_for_again_then_same_digest_and_new_nonces(house: House, signer: Signer) -> None:
    """An order signed again for the same revision is the same order to the device, with the nonces of its last ask."""
    decided(signer, asked(house))
    first = message_of(Order.objects.get())
    Device.objects.update(nonce="m" * 22, runner_nonce="q" * 22)
    again = Order.objects.create(device=house.device, part="door", nonce="m" * 22)
    look(signer)
    again.refresh_from_db()
    second = message_of(again)
    assert (second.digest, second.revision) == (first.digest, first.revision)
    assert (second.nonce, second.runner_nonce) == ("m" * 22, "q" * 22)


def test_order_when_session_is_closing_then_never_signed_open(house: House, signer: Signer) -> None:
    """The worker cannot have an open order signed for a session that ends."""
    decided(signer, asked(house))
    Order.objects.all().delete()
    Session.objects.update(state="closing")
    asked_for = Order.objects.create(device=house.device, part="door", nonce="m" * 22)
    sign_again(signer, asked_for.id)
    asked_for.refresh_from_db()
    assert asked_for.state == "dropped"
    look(signer)
    for order in Order.objects.filter(state="signed"):
        assert isinstance(message_of(order).body, ShutDoor)


def test_epoch_when_console_was_restored_then_numbers_begin_anew_above(house: House, signer: Signer) -> None:
    """In a new epoch revision and sequence start at 1, above everything signed before."""
    decided(signer, asked(house))
    turn_off(house.device, house.owner, HERE)
    look(signer)
    Session.objects.update(state="closed")
    house.project.epoch = 1
    house.project.save()
    decided(signer, asked(house))
    assert message_of(Order.objects.filter(state="signed").latest("asked_at")).revision == (1, 1)
    assert list(Grant.objects.order_by("id").values_list("epoch", "sequence")) == [(0, 1), (1, 1)]


def test_signing_when_timed_then_takes_milliseconds(house: House, signer: Signer) -> None:
    """From asked to signed is one short transaction."""
    ensure_signer_keys(house.project, signer.keys.wrapping)
    intent = asked(house)
    started = time.monotonic()
    decide(signer, intent.id)
    assert time.monotonic() - started < 0.5
    assert Session.objects.exists()


@pytest.mark.real("postgres")
def test_on_when_on_postgres_then_signed_as_on_sqlite(on_postgres: str) -> None:
    """The same rows, locked row by row."""
    house, signer = make_house(), new_signer()
    assert decided(signer, asked(house)).state == "done"
    assert isinstance(message_of(Order.objects.get()).body, OpenDoor)


def test_private_keys_when_made_then_in_no_row_and_no_repr(house: House, signer: Signer) -> None:
    """Neither the database file nor a printed value holds a private key."""
    from django.db import connection

    ensure_signer_keys(house.project, signer.keys.wrapping)
    grant, tunnel = signer.keys.grant(house.project.id), signer.keys.tunnel_ca(house.project.id)
    device_ca = signer.keys.device_ca(house.project.id)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    stored = Path(connection.settings_dict["NAME"]).read_bytes()
    shown = repr((signer, grant, tunnel, device_ca)) + str(signer) + f"{tunnel}{device_ca}"
    for secret in (grant.raw(), tunnel.seed, device_ca.private_der, signer.keys.wrapping.secret):
        for form in (secret, base64.b64encode(secret), secret.hex().encode()):
            assert form not in stored
            assert form.decode("latin-1") not in shown
        assert repr(secret) not in shown


@pytest.mark.threat("web-process-ceilings", "other-project")
@pytest.mark.parametrize("kind", ["on", "off", "settings"])
def test_intent_when_web_wrote_it_for_another_projects_device_then_refused(
    house: House, signer: Signer, kind: str
) -> None:
    """The asker's role, the policy and the history that count are those of the device's own project."""
    other = make_house("other")
    ensure_signer_keys(house.project, signer.keys.wrapping)
    intent = Intent.objects.create(
        project=other.project, device=house.device, kind=kind, by=other.owner, by_name=other.owner.email,
        at=timezone.now(), duration_s=600, values={"a": 1} if kind == "settings" else None,
    )  # fmt: skip
    intent = decided(signer, intent)
    assert (intent.state, intent.code) == ("refused", "signer.not-entitled")
    assert not Order.objects.exists()
    assert not Session.objects.exists()
    assert Pending.objects.get(verb="session.refused").project_id == house.project.id
