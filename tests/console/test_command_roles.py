"""PostgreSQL roles and commands: what each process needs for them works, and what it must not do is refused by the database."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import ProgrammingError, transaction
from django.utils import timezone
from doorward_console.fleet.models import Device, Forward, SettingsRead
from doorward_console.history.models import Pending
from doorward_console.maintenance.commands import rehearsals
from doorward_console.maintenance.commands.asking import Wish, ask_commands, cancel, stop
from doorward_console.maintenance.commands.hearing import apply_time, hear_put, send_commands
from doorward_console.maintenance.commands.wishes import hear, read_settings
from doorward_console.maintenance.models import Batch, Command, Desired, Order, Rehearsal
from doorward_console.maintenance.removing import remove_device
from doorward_console.signer import look

from tests.console.commanding import ALL, HELLO, asked, can_all, done, fresh, holds, who_of
from tests.console.conftest import House
from tests.console.test_roles import acting_as, refused, roles, signer

__all__ = ["roles"]
pytestmark = pytest.mark.real("postgres")


@pytest.fixture
def able(roles: House) -> House:
    """A house with roles whose device can do everything."""
    can_all(roles, verbs=[*ALL, "rehearse", "settings-read"], boot="b-1")
    return roles


def asked_as_web(house: House, wish: Wish = HELLO, **more: Any) -> Command:
    with acting_as("web"):
        return asked(house, wish, **more)


def sent() -> int:
    with acting_as("worker"):
        return send_commands(lambda _device, _envelope: True, timezone.now())


def signed() -> None:
    with acting_as("signer"):
        look(signer())


def test_roles_when_a_command_goes_its_way_then_each_process_does_its_part(able: House) -> None:
    """Asked and cancelled by web, told and refused by the signer, sent, heard and expired by the worker."""
    first = asked_as_web(able)
    signed()
    assert (sent(), fresh(first).state) == (1, "ordered")
    with acting_as("worker"):
        able.device.refresh_from_db()
        assert (holds(able), done(able, first, said="shown", result={"shown": []})) == (1, 1)
    assert (fresh(first).state, first.said, first.result) == ("done", "shown", {"shown": []})
    second = asked_as_web(able, HELLO, expires_s=60)
    late = asked_as_web(able, HELLO, expires_s=3600)
    signed()
    with acting_as("web"):
        cancel(second, who_of(able))
    with acting_as("worker"):
        assert apply_time(late.expires_at) == 1
    assert (fresh(second).state, fresh(late).state) == ("cancelled", "expired")


def test_roles_when_one_is_asked_twice_then_once(able: House) -> None:
    """Web finds again what it has asked, and writes nothing the second time."""
    wish = replace(HELLO, mark="once")
    assert asked_as_web(able, wish).pk == asked_as_web(able, wish).pk
    assert Pending.objects.filter(verb="command.asked").count() == 1


def test_roles_when_several_are_asked_then_once_and_stopped(able: House) -> None:
    """A batch, the same again, and its stop are web's."""
    wish = Wish("message", {"text": "hello"}, mark="once")
    with acting_as("web"):
        batch = ask_commands(able.project, [able.device], wish, who_of(able))
        assert ask_commands(able.project, [able.device], wish, who_of(able)).pk == batch.pk
        assert stop(batch, who_of(able)) == 1


def test_roles_when_a_device_rehearses_and_says_how_it_is_set_then_worker_and_signer_do_it(able: House) -> None:
    """Wishes of nobody, a rehearsal's grant on its way, and a device's settings."""
    with acting_as("worker"):
        assert hear([(able.device.pk, "rehearse")], timezone.now()) == 1
    signed()
    row = Rehearsal.objects.get()
    with acting_as("worker"):
        hear_put(row.pk, None, timezone.now())
    assert sent() == 1
    with acting_as("worker"):
        done(able, row.command)
        assert rehearsals.was_ended(row.session)
        assert read_settings([able.device.pk], timezone.now()) == 1
    signed()
    reading = Command.objects.get(verb="settings-read")
    with acting_as("worker"):
        done(able, reading, result={"values": {"host": "a"}, "schema": {}})
    assert SettingsRead.objects.get().values == {"host": "a"}


def test_roles_when_a_device_is_removed_then_web_cancels_and_frees(able: House) -> None:
    """Its commands are cancelled and its forwards go."""
    Forward.objects.create(device=able.device, name="db", target="tcp:db:5432", relay=able.relay, port=22_050)
    waiting = asked_as_web(able)
    with acting_as("web"):
        remove_device(able.device, able.device.name, who_of(able))
    assert (fresh(waiting).state, Forward.objects.count()) == ("cancelled", 0)


def row(house: House, **values: Any) -> Callable[[], object]:
    """Write a command as a process that was taken over would."""
    now = timezone.now()
    usual: dict[str, Any] = {"verb": "reboot", "by": house.owner, "by_name": house.owner.email, "state": "asked"}
    usual |= {"project": house.project, "device": house.device, "at": now, "expires_at": now + timedelta(hours=1)}
    return lambda: Command.objects.create(**usual | values)


def changing(**values: Any) -> Callable[[], object]:
    return lambda: Command.objects.update(**values)


def not_such_a_row(act: Callable[[], object]) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
        act()


@pytest.mark.threat("web-process-ceilings")
def test_web_role_when_it_oversteps_with_commands_then_refused(able: House) -> None:
    """Web changes nothing that was asked, writes no answer, decides nothing, and says nothing in a device's name."""
    command = asked_as_web(able)
    batch = ask_commands(able.project, [able.device], HELLO, who_of(able))
    SettingsRead.objects.create(device=able.device, values={"host": "a"})
    with acting_as("web"):
        changes: tuple[dict[str, Any], ...] = (
            {"verb": "shutdown"},
            {"arguments": {}},
            {"by_name": "x"},
            {"result": {}},
            {"begun_at": None},
        )
        for changed in changes:
            refused(changing(**changed))
        refused(command.delete)
        refused(lambda: Batch.objects.update(verb="shutdown"))
        refused(batch.delete)
        refused(lambda: SettingsRead.objects.update(values={"host": "b"}))
        refused(lambda: SettingsRead.objects.all().delete())
        refused(
            lambda: Desired.objects.create(device=able.device, part="command", epoch=0, revision=9, body="", digest="")
        )
        refused(lambda: Rehearsal.objects.update(state="put"))
        not_such_a_row(row(able, state="queued"))
        not_such_a_row(row(able, result={"healthy": True}))


@pytest.mark.threat("worker-asks")
def test_worker_role_when_it_oversteps_with_commands_then_refused(able: House) -> None:
    """The worker asks for nothing in a person's name, changes no wish, and makes no batch, grant or forward."""
    asked_as_web(able)
    Forward.objects.create(device=able.device, name="db", target="tcp:db:5432", relay=able.relay, port=22_050)
    with acting_as("worker"):
        not_such_a_row(row(able))
        not_such_a_row(row(able, by=None, state="queued"))
        changes: tuple[dict[str, Any], ...] = (
            {"verb": "shutdown"},
            {"confirm": "press 1"},
            {"by": able.owner},
            {"expires_at": timezone.now()},
        )
        for changed in changes:
            refused(changing(**changed))
        refused(
            lambda: Batch.objects.create(project=able.project, verb="reboot", by_name="x", expires_at=timezone.now())
        )
        refused(lambda: Rehearsal.objects.update(envelope=b"", ends_at=timezone.now()))
        refused(lambda: Forward.objects.update(target="tcp:elsewhere:22"))
        refused(lambda: Desired.objects.update(body="{}"))


def test_signer_role_when_it_oversteps_with_commands_then_refused(able: House) -> None:
    """The signer decides about what was asked; it asks nothing, changes no wish, and says nothing in a device's name."""
    asked_as_web(able)
    SettingsRead.objects.create(device=able.device)
    Forward.objects.create(device=able.device, name="db", target="tcp:db:5432", relay=able.relay, port=22_050)
    with acting_as("signer"):
        refused(row(able))
        changes: tuple[dict[str, Any], ...] = (
            {"verb": "shutdown"},
            {"arguments": {}},
            {"by": able.owner},
            {"result": {}},
            {"said": "x"},
        )
        for changed in changes:
            refused(changing(**changed))
        refused(lambda: Batch.objects.update(stopped_at=timezone.now()))
        refused(lambda: SettingsRead.objects.update(key={}))
        refused(lambda: Forward.objects.update(target="tcp:elsewhere:22"))
        refused(lambda: Device.objects.update(verbs=[]))
    assert not Order.objects.exists()
    assert Pending.objects.filter(verb="command.asked").count() == 1
