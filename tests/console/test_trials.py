"""Settings on trial at the console: confirmed after an ask and a rehearsal, told until the device has it, and never else (B7)."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from doorward_console.fleet.models import Device
from doorward_console.history.models import Pending
from doorward_console.history.restoring import open_epoch
from doorward_console.maintenance.documents import asking
from doorward_console.maintenance.models import Command, Desired, Order
from doorward_console.maintenance.orders import ask_where_due, ask_where_due_of, send_signed
from doorward_console.maintenance.sessions import hear_records
from doorward_console.people.members import Who
from doorward_console.signer import look
from doorward_protocol.envelope import decode
from doorward_protocol.orders import ConfirmSettings, order_from_payload

from tests.console.commanding import said, signer_at_work
from tests.console.conftest import House

pytestmark = [pytest.mark.feature("B7", "I15"), pytest.mark.django_db]


@pytest.fixture
def trial(house: House) -> House:
    """A house whose device tries the settings that were asked for."""
    asking.ask(house.device, asking.Change({"address": "new"}), Who(house.owner, "203.0.113.7"))
    signer_at_work(house)
    wanted = Desired.objects.get(device=house.device, part="settings")
    says(
        house, settings_state="trying", settings_epoch=wanted.epoch, settings_revision=wanted.revision,
        settings_digest=wanted.digest, settings_at=timezone.now(),
    )  # fmt: skip
    return house


def says(house: House, **values: Any) -> None:
    more = {"presence": "connected", "seen_at": timezone.now(), "nonce": "n" * 22, "runner_nonce": "r" * 22}
    Device.objects.filter(pk=house.device.pk).update(**{**more, **values})


def rehearsed(house: House, *, state: str = Command.State.DONE, ago: timedelta = timedelta()) -> None:
    now = timezone.now()
    Command.objects.create(
        project=house.project, device=house.device, verb="rehearse", state=state, at=now, by_name="the console",
        expires_at=now + timedelta(hours=1), begun_at=now - ago, ended_at=now - ago,
    )  # fmt: skip


def confirmations(house: House) -> list[Order]:
    return list(Order.objects.filter(device=house.device, part="confirm", envelope__isnull=False).order_by("asked_at"))


def test_trial_when_the_device_has_asked_and_rehearsed_then_it_is_confirmed_by_name(trial: House) -> None:
    """One signed order, which names revision and digest, and a line in the history."""
    rehearsed(trial)
    signer_at_work(trial)
    (order,) = confirmations(trial)
    wanted = Desired.objects.get(device=trial.device, part="settings")
    signed = order_from_payload(decode(bytes(order.envelope or b""), expected="order").payload)
    assert isinstance(signed.body, ConfirmSettings)
    assert (tuple(signed.body.revision), signed.body.digest) == ((wanted.epoch, wanted.revision), wanted.digest)
    assert signed.runner_nonce == "r" * 22
    assert Pending.objects.filter(verb="settings.confirmed").count() == 1
    signer_at_work(trial)
    assert len(confirmations(trial)) == 1


@pytest.mark.parametrize("why", ["never", "before-the-trial", "failed"])
def test_trial_when_the_device_has_not_rehearsed_well_since_then_it_is_not_confirmed(trial: House, why: str) -> None:
    """The broker may be in reach where the relay is not."""
    if why == "before-the-trial":
        rehearsed(trial, ago=timedelta(minutes=5))
    if why == "failed":
        rehearsed(trial, state=Command.State.FAILED)
    signer_at_work(trial)
    assert confirmations(trial) == []


@pytest.mark.parametrize(
    "says_now",
    [{"settings_state": "reverted"}, {"settings_state": "applying"}, {"settings_digest": "sha256:" + "0" * 64}, {"state": "blocked"}],
    ids=["reverted", "applying", "others", "blocked"],
)  # fmt: skip
def test_trial_when_it_is_not_of_what_is_wanted_now_then_it_is_not_confirmed(
    trial: House, says_now: dict[str, Any]
) -> None:
    """A confirmation is of what the device says that it tries, and of what the owner wants."""
    rehearsed(trial)
    says(trial, **says_now)
    signer_at_work(trial)
    assert confirmations(trial) == []


def test_confirmation_when_the_device_lacks_it_then_it_is_told_again_and_no_more_once_the_trial_is_over(
    trial: House,
) -> None:
    """New nonces: signed again; the trial's end, whichever: not told any more."""
    rehearsed(trial)
    signer = signer_at_work(trial)
    assert send_signed(lambda *_: True, timezone.now()) >= 1
    says(trial, nonce="m" * 22, runner_nonce="q" * 22, settings_lacks="confirm")
    ask_where_due(timezone.now())
    look(signer)
    assert len(confirmations(trial)) == 2
    says(trial, nonce="l" * 22, settings_state="confirmed", settings_lacks="")
    assert ask_where_due(timezone.now()) == 0


def test_settings_when_the_device_lacks_their_order_then_it_is_signed_again(trial: House) -> None:
    """The runner refused its nonce: the same revision for the nonces of now."""
    says(trial, nonce="k" * 22, settings_state="applying", settings_lacks="settings")
    assert ask_where_due(timezone.now()) == 1


def test_settings_when_put_back_then_they_are_not_told_again(trial: House) -> None:
    """A revision that failed is not tried again by itself: somebody has to ask anew."""
    says(trial, nonce="k" * 22, settings_state="reverted", settings_code="settings.unconfirmed")
    assert ask_where_due(timezone.now()) == 0
    assert json.loads(Desired.objects.get(device=trial.device, part="settings").body) == {"values": {"address": "new"}}


@pytest.mark.threat("database-restored")
def test_settings_when_the_console_is_restored_after_they_were_put_back_then_they_are_not_tried_again(
    trial: House,
) -> None:
    """A new epoch is nobody's wish to try once more what cut the device off; that takes somebody who asks anew."""
    says(trial, nonce="k" * 22, settings_state="reverted", settings_code="settings.unconfirmed")
    open_epoch(trial.project.pk, "root")
    says(trial, nonce="l" * 22, runner_nonce="s" * 22)
    assert (ask_where_due(timezone.now()), ask_where_due_of([trial.device.pk], timezone.now())) == (0, 0)
    asking.ask(trial.device, asking.Change({"address": "new"}), Who(trial.owner, "203.0.113.7"))
    signer_at_work(trial)
    order = Order.objects.filter(part="settings").latest("asked_at")
    assert (order.epoch, order.revision, order.envelope is not None) == (1, 2, True)
    says(trial, settings_state="confirmed")
    open_epoch(trial.project.pk, "root")
    says(trial, nonce="j" * 22, runner_nonce="t" * 22)
    assert ask_where_due(timezone.now()) == 1  # what is in force is told, and holds


def test_settings_when_they_cannot_be_put_back_then_an_alarm_says_so(trial: House) -> None:
    """Somebody may have to go there: that is for whoever watches the alarms, and not for the device's page alone."""
    facts = {"epoch": 0, "revision": 1, "digest": None, "code": "settings.unconfirmed", "said": "the disk says no"}
    for verb in ("settings.trying", "settings.reverted"):
        hear_records(trial.project.pk, [said(trial, verb, **facts)], timezone.now())
    assert not Pending.objects.filter(verb="console.alarm").exists()
    hear_records(trial.project.pk, [said(trial, "settings.failed", **facts)], timezone.now())
    alarm = Pending.objects.get(verb="console.alarm")
    assert (alarm.device, alarm.data["code"]) == (trial.device.pk, "settings.not-reverted")
