"""What many devices say of their commands at once is stored with few statements, and is what each of them alone would have brought about."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.fleet.models import Device, SettingsRead
from doorward_console.history.models import Chain, Pending, Record
from doorward_console.keys.making import ensure_worker_keys
from doorward_console.keys.opening import WorkerKeys
from doorward_console.maintenance.models import Command
from doorward_console.worker.hearing import hear_devices
from doorward_protocol.envelope import decode
from doorward_protocol.ids import DeviceId
from doorward_protocol.receipts import receipt_from_payload

from tests.console.conftest import House, make_house
from tests.worlds.scripted_device import ScriptedDevice

pytestmark = [pytest.mark.feature("I11"), pytest.mark.django_db]
RESULT = {"healthy": True}


class Many:
    """Devices that each have one command under way, and a worker that hears them."""

    def __init__(self, house: House, count: int) -> None:
        ensure_worker_keys(house.project)
        self.keys = WorkerKeys(wrapping_key_from_file(settings.CONFIG.worker_key))
        self.receipts: dict[str, int] = {}
        now = timezone.now()
        rows = [Device.objects.create(project=house.project, name=f"meter {n}", state="joined") for n in range(count)]
        self.devices = [ScriptedDevice(DeviceId(row.pk)) for row in rows]
        for one, row in zip(self.devices, rows, strict=True):
            Chain.objects.create(project=house.project, author=f"device:{row.pk}", public_key=one.key.public)
        self.commands = [
            Command.objects.create(
                project=house.project, device=row, verb="health", state="ordered", at=now, by_name="aiko",
                expires_at=now + timedelta(hours=1),
            )
            for row in rows
        ]  # fmt: skip

    def said(self, n: int, **changes: Any) -> list[bytes]:
        """Let a device write down that its command began and how it went."""
        about = {"command": self.commands[n].pk, "verb": "health"}
        done: dict[str, Any] = {"code": None, "status": 0, "said": "", "result": RESULT, "lasted_ms": 12, **changes}
        one = self.devices[n]
        return [one.record("command.begun", **about, order="o-x"), one.record("command.done", **about, **done)]

    def hear(self, came: dict[int, list[bytes]]) -> int:
        """Let all of it arrive at once; gives with how many statements it was taken."""
        with CaptureQueriesContext(connection) as asked:
            messages: dict[str, list[bytes]] = {self.devices[n].device: records for n, records in came.items()}
            hear_devices(messages, self.keys, self._receipt_to, timezone.now())
        return len(asked)

    def _receipt_to(self, device: str) -> Any:
        def send(raw: bytes) -> None:
            self.receipts[device] = receipt_from_payload(decode(raw, expected="receipt").payload).upto

        return send

    def states(self) -> list[str]:
        for command in self.commands:
            command.refresh_from_db()
        return [command.state for command in self.commands]


@pytest.fixture
def many(house: House) -> Many:
    """A dozen of them."""
    return Many(house, 12)


def test_records_when_many_devices_say_how_their_command_went_then_few_statements_take_them(many: Many) -> None:
    """Each command has its end and its result, each chain its head, each device its receipt, and each end its line."""
    few = many.hear({n: many.said(n) for n in range(2)})
    more = many.hear({n: many.said(n) for n in range(2, 12)})
    assert more <= few + 2
    assert many.states() == ["done"] * 12
    assert [(one.result, one.status, one.lasted_ms) for one in many.commands] == [(RESULT, 0, 12)] * 12
    assert many.receipts == {one.device: 2 for one in many.devices}
    assert Record.objects.filter(verb="command.done").count() == 12
    ended = Pending.objects.filter(verb="command.ended")
    assert {one.data["command"] for one in ended} == {one.pk for one in many.commands}
    assert ended.count() == 12


def test_records_when_another_worker_was_first_then_few_statements_tell_each_device_again(many: Many) -> None:
    """Each worker hears each message; what is stored already is not stored, and not heard, a second time."""
    few, more = ({n: many.said(n) for n in some} for some in (range(2), range(2, 12)))
    many.hear({**few, **more})
    many.receipts = {}
    assert many.hear(more) <= many.hear(few) + 2
    assert many.receipts == {one.device: 2 for one in many.devices}
    assert Record.objects.filter(verb="command.done").count() == 12
    assert Pending.objects.filter(verb="command.ended").count() == 12


@pytest.mark.parametrize("how", ["forged", "twice", "gap", "stored-ahead", "another", "fork"])
def test_records_when_one_devices_are_not_plain_then_they_are_taken_alone_and_the_others_are_not_held_up(
    many: Many, how: str
) -> None:
    """What does not just continue a chain is judged as ever."""
    said = many.said(0)
    stranger = ScriptedDevice(many.devices[0].device)
    if how == "stored-ahead":
        many.hear({0: said[1:]})
    if how == "fork":
        many.hear({0: said})
        stranger.key = many.devices[0].key
    came = {
        "forged": [stranger.record("command.done", command=many.commands[0].pk)],
        "twice": [*said, *said],
        "gap": said[1:],
        "stored-ahead": said[:1],
        "another": [*said, many.devices[0].record("agent.started")],
        "fork": [stranger.record("command.begun", command=many.commands[0].pk)],
    }[how]
    many.hear({0: came, 1: many.said(1), 2: many.said(2)})
    is_done = how not in {"forged", "gap"}
    assert many.states()[:3] == ["done" if is_done else "ordered", "done", "done"]
    assert many.receipts[many.devices[1].device] == 2
    assert Record.objects.filter(author=f"device:{many.devices[1].device}").count() == 2
    chain = Chain.objects.get(author=f"device:{many.devices[0].device}")
    assert chain.n == {"forged": 0, "twice": 2, "gap": 0, "stored-ahead": 2, "another": 3, "fork": 2}[how]
    assert bool(chain.broken) == (how == "fork")


def test_records_when_one_device_names_anothers_command_then_nothing_changes_by_it(many: Many) -> None:
    """A device speaks of its own commands alone."""
    told = many.devices[0].record("command.done", command=many.commands[1].pk, verb="health", code=None, status=0, said="", result=None, lasted_ms=1)  # fmt: skip
    many.hear({0: [told]})
    assert set(many.states()) == {"ordered"}


@pytest.mark.real("postgres")
@pytest.mark.usefixtures("on_postgres")
def test_records_when_the_database_refuses_one_devices_then_the_others_are_stored_all_the_same(
    django_db_blocker: Any,
) -> None:
    """A fault stays its sender's: nothing of it is stored or receipted, and the worker lives on."""
    with django_db_blocker.unblock():
        many = Many(make_house(), 3)
        bad = f"device:{many.devices[1].device}"
        with connection.cursor() as cursor:
            cursor.execute(f"""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF NEW.author = '{bad}' THEN RAISE EXCEPTION 'no' USING ERRCODE = '22003'; END IF; RETURN NEW; END $$""")
            cursor.execute("CREATE TRIGGER refusing BEFORE INSERT ON history_record FOR EACH ROW EXECUTE FUNCTION refuse()")  # fmt: skip
        many.hear({n: many.said(n) for n in range(3)})
        assert many.states() == ["done", "ordered", "done"]
        assert many.receipts == {many.devices[n].device: 2 for n in (0, 2)}
        assert Chain.objects.get(author=bad).n == 0


@pytest.mark.real("postgres")
@pytest.mark.usefixtures("on_postgres")
def test_records_when_a_status_is_beyond_all_statuses_then_the_answer_counts_as_bad_and_is_kept(
    django_db_blocker: Any,
) -> None:
    """A number that no column takes is no status: the command has ended all the same, and its device's chain goes on."""
    with django_db_blocker.unblock():
        many = Many(make_house(), 3)
        many.hear({0: many.said(0, status=2**40), 1: many.said(1)})
        stranger = [*many.said(2, status=2**40), many.devices[2].record("agent.started")]
        many.hear({2: stranger})
        assert many.states() == ["failed", "done", "failed"]
        assert many.commands[0].code == "hook.bad-answer"
        assert many.receipts == {one.device: n for one, n in zip(many.devices, (2, 2, 3), strict=True)}


def test_records_when_a_device_says_how_it_is_set_then_that_is_kept_whatever_it_calls_the_command(many: Many) -> None:
    """The console knows what it has asked for."""
    Command.objects.filter(pk=many.commands[0].pk).update(verb="settings-read")
    many.hear({0: many.said(0, result={"values": {"a": 1}, "schema": None}), 1: many.said(1)})
    assert SettingsRead.objects.get(device=many.devices[0].device).values == {"a": 1}
    assert many.states()[:2] == ["done", "done"]
