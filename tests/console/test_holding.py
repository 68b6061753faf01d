"""Whoever holds many commands holds them in one order, so that nobody waits for another in a circle."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone
from doorward_console.fleet.models import Device
from doorward_console.maintenance.commands.cancelling import end_waiting
from doorward_console.maintenance.commands.hearing import hear_taken
from doorward_console.maintenance.commands.holding import hold
from doorward_console.maintenance.models import Command, Desired

from tests.console.conftest import House, make_house
from tests.parts.waiting import wait_until

pytestmark = [pytest.mark.feature("I11"), pytest.mark.real("postgres"), pytest.mark.usefixtures("on_postgres")]


def _commands(house: House) -> list[Command]:
    """Make commands whose order of asking is not the order in which the database finds them."""
    now = timezone.now()
    devices = [Device.objects.create(project=house.project, name=f"meter {n}", state="joined") for n in range(2)]
    made = [
        Command.objects.create(
            project=house.project, device=device, verb="health", state="ordered", at=now - timedelta(minutes=n),
            by_name="aiko", expires_at=now + timedelta(hours=1),
        )
        for n, device in enumerate(devices)
    ]  # fmt: skip
    for one in made:
        Desired.objects.create(
            device=one.device, part="command", epoch=0, revision=1, body="{}", digest="d", command=one, at=now
        )
        Device.objects.filter(pk=one.device_id).update(command_epoch=0, command_revision=1, command_digest="d")
    return made


def _stop() -> object:
    with transaction.atomic():
        return end_waiting(Command.objects.all(), "command.cancelled", "aiko")


def _hear() -> object:
    return hear_taken(list(Device.objects.values_list("pk", flat=True)), timezone.now())


@pytest.mark.parametrize("act", [_stop, _hear])
def test_commands_when_another_holds_the_first_and_takes_the_next_then_the_whole_waits_and_nobody_is_thrown_off(
    django_db_blocker: Any, act: Callable[[], object]
) -> None:
    """A stop, or a worker, that meets the signer waits at the first command and holds none behind it meanwhile."""
    with django_db_blocker.unblock():
        later, first = _commands(make_house())
        said: list[object] = []
        meeting = threading.Thread(target=lambda: said.append(_alone(act)), daemon=True)
        with transaction.atomic():
            list(hold(Command.objects.filter(pk=first.pk)))
            meeting.start()
            wait_until(_is_somebody_waiting, 20, "the other to wait")
            list(hold(Command.objects.filter(pk=later.pk)))
        meeting.join(20)
        assert said == [2]


def _alone(act: Callable[[], object]) -> object:
    try:
        return act()
    finally:
        connections.close_all()


def _is_somebody_waiting() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])
