"""Named forwards in the console: ports, openings, what the device says of them, and their tests."""

import base64
import json
from typing import Any

import pytest
from django.utils import timezone
from doorward_console.declined import Declined
from doorward_console.fleet import changing
from doorward_console.fleet.asks import take_asks
from doorward_console.fleet.forwards import Wanted, remove_forward, set_forward
from doorward_console.fleet.models import Device, Forward, Relay
from doorward_console.fleet.queries import free_port_of, row_of
from doorward_console.history.models import Pending
from doorward_console.keys.relay_file import new_since, usual_ports
from doorward_console.maintenance import asking
from doorward_console.maintenance.asker import NotAsked
from doorward_console.maintenance.asking import Opening, ask_on
from doorward_console.maintenance.commands.asking import Wish, ask_command
from doorward_console.maintenance.forwards import Shown, hear_records, shown_of
from doorward_console.maintenance.models import Command, Desired, Grant, Intent, Session
from doorward_console.maintenance.removing import remove_device
from doorward_console.maintenance.signing import decide
from doorward_console.people.models import Member, User
from doorward_protocol.asks import Ask, CommandReport, DoorReport, SettingsReport
from doorward_protocol.ids import DeviceId, SessionId
from doorward_protocol.orders import OpenDoor, body_from_text
from doorward_protocol.records import Fact, Head, Moment, Record
from doorward_protocol.revisions import NEVER
from doorward_protocol.targets import Offered

from tests.console.commanding import signer_at_work, who_of
from tests.console.conftest import House, make_house
from tests.console.test_signing import new_signer
from tests.console.visiting import client_of

pytestmark = [pytest.mark.feature("R6"), pytest.mark.django_db(transaction=True)]

DATABASE = "tcp:10.0.0.5:5432"
MAIL = "tcp:mail.plant.example:25"


@pytest.fixture
def offering(house: House) -> House:
    """The house, whose device offers two forwards."""
    Device.objects.filter(pk=house.device.pk).update(
        offered={"database": DATABASE, "mail": MAIL}, verbs=["test-forward"], seen_at=timezone.now()
    )
    house.device.refresh_from_db()
    return house


def gives(house: House, name: str = "database", port: int = 22002, **more: Any) -> Forward:
    return set_forward(house.device, name, Wanted(port, **more), who_of(house))


def opened(house: House, *names: str, usual: bool = False) -> Session:
    """Turn on as the owner, and let the signer decide."""
    signer_at_work(house)
    ask_on(house.device, house.owner, "203.0.113.7", Opening(600, "ticket 4711", None if usual else names))
    for intent in Intent.objects.filter(state=Intent.State.ASKED):
        decide(new_signer(), intent.pk)
    found: Session = Session.objects.filter(device=house.device).latest("requested_at")
    return found


def ordered(house: House) -> OpenDoor:
    body = body_from_text("door", Desired.objects.get(device=house.device, part="door").body)
    assert isinstance(body, OpenDoor)
    return body


def says(session: Session, verb: str, **data: Any) -> int:
    fact = Fact(verb, session.pk, DeviceId(session.device_id), data)
    record = Record(f"device:{session.device_id}", Head(0, 1, None), None, Moment(1), fact, {})
    return hear_records(record.author, [record], timezone.now())


def shown(house: House, name: str = "database", *, word: str = "open") -> Shown:
    session = Session.objects.filter(device=house.device).order_by("-requested_at").first()
    device = Device.objects.get(pk=house.device.pk)
    return next(one for one in shown_of(device, session, word) if one.name == name)


# Ports


def test_ask_when_a_device_names_what_it_allows_then_that_is_offered(house: House) -> None:
    """An agent that knows no forwards offers none, which is something else than an empty list; what is no name is left out."""
    strange = (Offered("database", DATABASE), Offered("../x", DATABASE), Offered("ssh", DATABASE), Offered("", ""))
    for forwards, offered in ((strange, {"database": DATABASE}), ((), {}), (None, None)):
        house.device.refresh_from_db()
        ask = Ask(
            DeviceId(house.device.pk), "b" * 32, house.device.ask_count + 1, "n", None, 0, 0, "0.1.0", {},
            DoorReport("SHUT", None, NEVER, None, None), SettingsReport(NEVER, None, {}), 0, Head(), CommandReport(),
            (), None, forwards,
        )  # fmt: skip
        take_asks({ask.device: ask}, timezone.now())
        assert Device.objects.get(pk=house.device.pk).offered == offered


def test_forward_when_it_is_given_a_port_then_it_is_the_devices_own_target_and_in_the_history(offering: House) -> None:
    """Nobody types a target: it is the one that the device offers. The relay's loopback unless somebody says otherwise."""
    made = gives(offering)
    assert (made.target, made.port, made.bind, made.is_usual) == (DATABASE, 22002, "localhost", True)
    assert made.relay_id == offering.relay.pk
    gives(offering, port=22003, bind="*", is_usual=False)
    (made,) = Forward.objects.all()
    assert (made.port, made.bind, made.is_usual) == (22003, "*", False)
    remove_forward(offering.device, "database", who_of(offering))
    assert not Forward.objects.exists()
    verbs = [one.verb for one in Pending.objects.order_by("pk")]
    assert verbs == ["forward.set", "forward.set", "forward.removed"]


def test_port_when_somebody_has_it_then_it_is_given_to_nobody_else(offering: House) -> None:
    """One thing to a relay's port: a door, this device's or another's, or a forward; in whichever order they are given."""
    other = Device.objects.create(project=offering.project, name="press 2", relay=offering.relay, relay_port=22010)
    gives(offering, port=22002)
    for port, holder in ((22001, "door of press 1"), (22010, "door of press 2")):
        with pytest.raises(Declined, match=holder):
            gives(offering, "mail", port)
    with pytest.raises(Declined, match="forward database of press 1"):
        gives(offering, "mail", 22002)
    for device in (other, offering.device):
        with pytest.raises(Declined, match="forward database of press 1"):
            changing.set_way(device, offering.relay, 22002, "*", who_of(offering))
    assert free_port_of(Relay(pk=offering.relay.pk, low_port=22001, high_port=22010)) == 22003
    Relay.objects.update(low_port=22000, high_port=22099)
    with pytest.raises(Declined, match="22000 to 22099"):
        gives(offering, port=22100)


def test_forward_when_it_is_not_offered_or_has_no_relay_then_declined(offering: House) -> None:
    """Each with the next step."""
    with pytest.raises(Declined, match="offers no forward 'web'"):
        gives(offering, "web")
    with pytest.raises(Declined, match="no place to listen"):
        gives(offering, bind="192.0.2.1")
    Device.objects.update(relay=None, relay_port=None)
    offering.device.refresh_from_db()
    with pytest.raises(Declined, match="no relay"):
        gives(offering)


def test_way_when_it_changes_then_forwards_go_along_or_it_is_declined(offering: House) -> None:
    """A port that is another's at the new relay keeps the device where it is; nothing is half moved."""
    second = Relay.objects.create(
        project=offering.project, name="second", host="second.example.com", paired_at=timezone.now()
    )
    gives(offering, port=22002)
    taken = Device.objects.create(project=offering.project, name="press 2", relay=second, relay_port=22002)
    with pytest.raises(Declined, match="door of press 2"):
        changing.set_way(offering.device, second, 22001, "*", who_of(offering))
    offering.device.refresh_from_db()
    assert offering.device.relay_id == Forward.objects.get().relay_id == offering.relay.pk
    taken.delete()
    changing.set_way(offering.device, second, 22001, "*", who_of(offering))
    assert Forward.objects.get().relay_id == second.pk
    changing.set_way(offering.device, None, None, "*", who_of(offering))
    assert Forward.objects.get().relay_id is None
    remove_device(offering.device, offering.device.name, who_of(offering))
    assert not Forward.objects.exists()


def test_plain_relays_line_when_a_forward_gets_a_port_then_it_needs_that_port(offering: House) -> None:
    """The line that is handed out names all ports, and the page says which are new."""
    Relay.objects.update(kind="plain")
    gives(offering, port=22007)
    assert usual_ports(offering.project) == (22001, 22007)
    assert [(new.port, new.device.name) for new in new_since(offering.project)] == [
        (22001, "press 1"),
        (22007, "press 1"),
    ]


# Openings


def test_opening_when_nothing_is_chosen_then_the_usual_forwards_go_with_it_and_the_door_is_first(
    offering: House,
) -> None:
    """Order and grant name the same ports; a second signing for a longer session names them again."""
    gives(offering, port=22002)
    gives(offering, "mail", 22003, is_usual=False)
    session = opened(offering, usual=True)
    assert [tuple(one) for one in ordered(offering).forwards] == [
        ("ssh", "ssh", "*", 22001),
        ("database", DATABASE, "localhost", 22002),
    ]
    payload = json.loads(base64.b64decode(json.loads(bytes(Grant.objects.get().envelope))["payload"]))
    assert [(one["name"], one["bind"], one["port"]) for one in payload["forwards"]] == [
        ("ssh", "*", 22001),
        ("database", "localhost", 22002),
    ]
    asking.extend(offering.device, offering.owner, "203.0.113.7", 1200)
    decide(new_signer(), Intent.objects.get(kind="extend").pk)
    assert len(ordered(offering).forwards) == 2
    assert session.pk == ordered(offering).session


def test_opening_when_forwards_are_chosen_then_those_and_no_others(offering: House) -> None:
    """None of them, too; a name that the device has no forward of is refused at once and by the signer."""
    gives(offering, port=22002)
    gives(offering, "mail", 22003, is_usual=False)
    with pytest.raises(NotAsked) as refused:
        ask_on(offering.device, offering.owner, "203.0.113.7", Opening(600, "", ("web",)))
    assert refused.value.code == "forward.unknown"
    opened(offering, "mail")
    assert [one.name for one in ordered(offering).forwards] == ["ssh", "mail"]


def test_opening_when_web_names_what_is_not_there_or_wrote_nonsense_then_the_signer_refuses_or_leaves_it_out(
    offering: House,
) -> None:
    """What web wrote is looked at again by whoever signs."""
    gives(offering, port=22002)
    signer_at_work(offering)
    Forward.objects.update(target="tcp:10.0.0.5:5432\nPort 22")
    intent = Intent.objects.create(
        project=offering.project, device=offering.device, kind="on", by=offering.owner, by_name="x", duration_s=600,
        values={"session": SessionId("s-aaaaaaaaaaaaaaaa"), "forwards": ["web"]},
    )  # fmt: skip
    decide(new_signer(), intent.pk)
    intent.refresh_from_db()
    assert (intent.state, intent.code) == ("refused", "forward.unknown")
    opened(offering, usual=True)
    assert [one.name for one in ordered(offering).forwards] == ["ssh"]


def test_opening_when_the_agent_knows_no_forwards_then_it_is_sent_none(offering: House) -> None:
    """It would refuse the whole order. Whoever chose one is told, and whoever did not gets the door."""
    gives(offering, port=22002)
    Device.objects.update(offered=None)
    offering.device.refresh_from_db()
    with pytest.raises(NotAsked) as refused:
        ask_on(offering.device, offering.owner, "203.0.113.7", Opening(600, "", ("database",)))
    assert refused.value.code == "forward.agent-too-old"
    opened(offering, usual=True)
    assert [one.name for one in ordered(offering).forwards] == ["ssh"]


def test_opening_when_another_session_holds_one_of_its_ports_then_refused(offering: House) -> None:
    """A forward that was taken away while open keeps its port for as long as the session lasts."""
    second = Device.objects.create(
        project=offering.project, name="press 2", state="joined", relay=offering.relay, relay_port=22005,
        joined_at=timezone.now(), tunnel_key=offering.device.tunnel_key, presence="connected", nonce="n" * 22,
        offered={"web": "tcp:10.0.0.9:80"},
    )  # fmt: skip
    gives(offering, port=22002)
    opened(offering, usual=True)
    remove_forward(offering.device, "database", who_of(offering))
    set_forward(second, "web", Wanted(22002), who_of(offering))
    ask_on(second, offering.owner, "203.0.113.7", Opening(600))
    intent = Intent.objects.get(device=second)
    decide(new_signer(), intent.pk)
    intent.refresh_from_db()
    assert (intent.state, intent.code) == ("refused", "signer.port-taken")


# What the device says


def test_forward_when_the_device_says_how_it_fares_then_it_has_a_state_of_its_own(offering: House) -> None:
    """Green is the door's; a forward is open on the device's word alone, and behind a door that answers."""
    gives(offering, port=22002)
    session = opened(offering, usual=True)
    assert shown(offering).state == "opening"
    says(session, "door.opened")
    assert says(session, "forward.failed", name="database", code="forward.unreachable", address="10.0.0.5") == 1
    seen = shown(offering)
    assert (seen.state, seen.reason and seen.reason.code, seen.address, seen.place) == (
        "failed", "forward.unreachable", "10.0.0.5", "",
    )  # fmt: skip
    says(session, "forward.opened", name="database", address="10.0.0.5", port=22002)
    assert (shown(offering).state, shown(offering).place) == ("open", "relay.example.com:22002")
    assert shown(offering, word="opening").state == "opening"
    assert shown(offering, word="closing").state == "shut"
    assert shown(offering, word="shut").state == "shut"
    says(session, "door.lost")
    assert shown(offering).state == "opening"


def test_forward_when_the_relay_told_the_device_why_then_that_is_shown(offering: House) -> None:
    """The exact reason is the relay's."""
    gives(offering, port=22002)
    session = opened(offering, usual=True)
    says(session, "forward.failed", name="database", code="forward.port-refused", relay_code="relay.port-busy")
    reason = shown(offering).reason
    assert reason is not None
    assert reason.code == "relay.port-busy"


def test_records_when_they_are_of_another_device_or_forward_then_nothing_changes(offering: House) -> None:
    """A device speaks of its own sessions."""
    gives(offering, port=22002)
    session = opened(offering, usual=True)
    other = make_house("other")
    fact = Fact("forward.opened", session.pk, DeviceId(other.device.pk), {"name": "database"})
    record = Record(f"device:{other.device.pk}", Head(0, 1, None), None, Moment(1), fact, {})
    assert hear_records(record.author, [record], timezone.now()) == 0
    assert hear_records(f"relay:{offering.relay.pk}", [record], timezone.now()) == 0
    assert says(session, "forward.opened", name="mail") == 0


def test_forward_when_the_device_offers_another_target_now_then_it_is_told_until_it_is_saved_again(
    offering: House,
) -> None:
    """The console orders what somebody saw and saved."""
    gives(offering, port=22002)
    Device.objects.update(offered={"database": "tcp:10.0.0.6:5432"})
    offering.device.refresh_from_db()
    seen = shown(offering)
    assert (seen.is_changed, seen.target, seen.offered) == (True, DATABASE, "tcp:10.0.0.6:5432")
    gives(offering, port=22002)
    assert not shown(offering).is_changed
    assert Forward.objects.get().target == "tcp:10.0.0.6:5432"


# Tests of a target, API


@pytest.mark.feature("T9")
def test_connection_test_when_the_device_does_not_offer_the_name_then_not_asked(offering: House) -> None:
    """A name that the device has is asked for; any other is refused at once."""
    command = ask_command(offering.device, Wish("test-forward", {"name": "mail"}), who_of(offering))
    assert command.arguments == {"name": "mail"}
    for wrong in ({}, {"name": "web"}, {"name": 7}):
        with pytest.raises(NotAsked) as refused:
            ask_command(offering.device, Wish("test-forward", wrong), who_of(offering))
        assert refused.value.code == "forward.unknown"
    assert Command.objects.count() == 1


def test_api_when_forwards_are_set_and_opened_then_it_says_the_same_as_the_page(
    offering: House,
) -> None:
    """Set, choose, look, take away; ports in use are told with a sentence."""
    client = client_of(offering.owner)
    at = f"/api/v1/devices/{offering.device.pk}/forwards"
    put = client.put(f"{at}/database", {"port": 22002, "bind": "*"}, content_type="application/json", secure=True)
    assert put.status_code == 200, put.content
    listed = {one["name"]: one for one in client.get(at, secure=True).json()}
    assert (listed["database"]["port"], listed["database"]["state"], listed["mail"]["port"]) == (22002, "shut", None)
    wrong = client.put(f"{at}/mail", {"port": 22001}, content_type="application/json", secure=True)
    assert wrong.status_code in {400, 409, 422}
    assert "door of press 1" in wrong.content.decode()
    session = opened(offering, usual=True)
    says(session, "forward.opened", name="database", address="10.0.0.5")
    Session.objects.update(state="open", opened_at=timezone.now())
    door = client.get(f"/api/v1/devices/{offering.device.pk}/door", secure=True).json()
    (one,) = [one for one in door["forwards"] if one["name"] == "database"]
    assert (door["state"], one["state"], one["place"]) == ("open", "open", "relay.example.com:22002")
    assert client.delete(f"{at}/database", secure=True).status_code == 204
    assert row_of(offering.device).door.word == "open"


# Pages


def page_of(house: House, user: Any) -> str:
    answer = client_of(user).get(f"/projects/{house.project.pk}/devices/{house.device.pk}/", secure=True)
    return str(answer.content.decode())


def test_page_when_a_device_offers_forwards_then_owner_sets_them_up_and_chooses_which_go_with_an_opening(
    offering: House,
) -> None:
    """From the offer to the order, by the page's own forms; a refusal is a sentence."""
    client, at = client_of(offering.owner), f"/projects/{offering.project.pk}/devices/{offering.device.pk}"
    assert "Set up: database" in page_of(offering, offering.owner)
    form = {"port": "22002", "bind": "*", "is_usual": "1"}
    assert client.post(f"{at}/forwards/database/", form, secure=True).status_code == 302
    assert client.post(f"{at}/forwards/mail/", {"port": "22003", "bind": "localhost"}, secure=True).status_code == 302
    assert [(one.name, one.bind, one.is_usual) for one in Forward.objects.order_by("name")] == [
        ("database", "*", True),
        ("mail", "localhost", False),
    ]
    told = client.post(f"{at}/forwards/mail/", {"port": "22001", "bind": "*"}, follow=True, secure=True)
    assert "belongs to the door of press 1 already" in told.content.decode()
    signer_at_work(offering)
    chosen = {"duration_s": "600", "chooses_forwards": "1", "forwards": ["mail"]}
    client.post(f"{at}/door/on/", chosen, secure=True)
    decide(new_signer(), Intent.objects.get().pk)
    assert [one.name for one in ordered(offering).forwards] == ["ssh", "mail"]
    client.post(f"{at}/forwards/database/", {"remove": "1"}, secure=True)
    assert [one.name for one in Forward.objects.all()] == ["mail"]


def test_page_when_a_forward_is_open_then_its_line_is_shown_to_those_who_may_log_in(offering: House) -> None:
    """An engineer connects and tests, a viewer sees that it is open, and neither changes it."""
    gives(offering, port=22002, bind="*")
    gives(offering, "mail", 22003)
    session = opened(offering, usual=True)
    for name in ("database", "mail"):
        says(session, "forward.opened", name=name, address="10.0.0.5")
    Session.objects.update(state="open", opened_at=timezone.now())
    engineer, viewer = (person(offering, role) for role in ("engineer", "viewer"))
    seen = page_of(offering, engineer)
    assert "relay.example.com:22002" in seen
    assert "ssh -N -L 22003:localhost:22003 relay.example.com" in seen
    assert "Whoever reaches the relay reaches this target" in seen
    assert "Test: database" in seen
    assert "Change: database" not in seen
    seen = page_of(offering, viewer)
    assert "relay.example.com:22002" not in seen
    assert "Test: database" not in seen
    assert DATABASE in seen


@pytest.mark.feature("T9")
def test_page_when_a_target_was_tested_then_the_row_says_how_it_went(offering: House) -> None:
    """By the page's own button; the last word of each."""
    client, at = client_of(offering.owner), f"/projects/{offering.project.pk}/devices/{offering.device.pk}"
    client.post(f"{at}/commands/ask/test-forward/", {"name": "mail"}, secure=True)
    command = Command.objects.get()
    assert command.arguments == {"name": "mail"}
    steps = [{"step": step, "ms": 3, "code": None} for step in ("allow", "resolve", "connect", "banner")]
    result = {"name": "mail", "target": MAIL, "address": "10.0.0.8", "steps": steps, "banner": "220 mail <b>"}
    Command.objects.update(state="done", ended_at=timezone.now(), result=result)
    seen = page_of(offering, offering.owner)
    assert "10.0.0.8 took the connection in 3 ms and said “220 mail &lt;b&gt;”" in seen
    steps[2]["code"] = "forward.unreachable"
    result |= {"steps": steps[:3], "banner": ""}
    Command.objects.update(state="failed", code="forward.unreachable", result=result)
    assert "Nothing takes a connection at" in page_of(offering, offering.owner)


def person(house: House, role: str) -> Any:
    user = User.objects.create_user(f"{role}@example.com", "a long password 1")
    Member.objects.create(project=house.project, user=user, role=role)
    return user
