"""What pages say of commands and of settings on trial: one line each, and news of every step."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from django.test import Client
from django.urls import reverse
from doorward_console.fleet.models import Device
from doorward_console.maintenance.commands.asking import ask_commands, cancel
from doorward_console.pages.news import device_look, project_look
from doorward_console.people.models import Member, User
from doorward_protocol.reasons import reason_of

from tests.console.commanding import HELLO, asked, can_all, done, holds, signer_at_work, who_of
from tests.console.conftest import House
from tests.console.visiting import address, address_of, ask, client_of


def _text(client: Client, where: str) -> str:
    return " ".join(ask(client, "GET", where).content.decode().split())


def test_history_when_a_command_went_well_then_the_devices_page_tells_it_in_one_line_and_the_history_in_each(
    house: House,
) -> None:
    """Whoever looks at a device reads what was asked and how it ended once, by the command's own name."""
    can_all(house)
    command = asked(house)
    signer_at_work(house)
    done(house, command)
    client = client_of(house.owner)
    page = _text(client, address("device", house))
    every = _text(client, address_of("history", house.project) + "?action=all")
    assert page.count("“Show a message” was asked for") == 1
    assert "“Show a message” has ended" not in page
    assert "“Show a message” was signed" not in page
    for said in ("was asked for", "was signed", "has ended"):
        assert f"“Show a message” {said}" in every
    assert "asked for by owner-of-plant@example.com, done" in every


def test_history_when_it_was_asked_of_several_then_each_devices_page_says_who_asked_and_how_it_ended(
    house: House,
) -> None:
    """A device's own history tells it as if it had been asked alone, and leads to the others; the project's tells it once."""
    can_all(house)
    batch = ask_commands(house.project, [house.device], replace(HELLO, reason="ticket 4711"), who_of(house))
    signer_at_work(house)
    done(house, batch.commands.get())
    client = client_of(house.owner)
    page = _text(client, address("device", house)).partition("<h2>History</h2>")[2]
    for said in ("“Show a message” was asked for", "by</span> owner-of-plant@example.com", "“ticket 4711”", "Done"):
        assert page.count(said) == 1
    assert "has ended" not in page
    assert page.count(f"/commands/{batch.pk}/") == 1
    everybody = _text(client, address_of("history", house.project))
    assert "“Show a message” was asked for on several devices" in everybody
    assert "“Show a message” was asked for<" not in everybody


def test_history_when_one_of_several_is_looked_for_then_its_line_is_found_by_device_and_by_person(house: House) -> None:
    """Whoever narrows the history to a device is told what was asked of it, whichever way it was asked; so is the API."""
    can_all(house)
    ask_commands(house.project, [house.device], HELLO, who_of(house))
    client, where = client_of(house.owner), address_of("history", house.project)
    for query in (f"device={house.device.pk}", "action=command.asked", "action=all&person=owner-of"):
        assert "“Show a message” was asked for<" in _text(client, f"{where}?{query}")
    assert "“Show a message” was asked for<" not in _text(client, f"{where}?action=commands")
    told = client.get(f"/api/v1/projects/{house.project.pk}/history?device={house.device.pk}", secure=True).json()
    assert [(one["verb"], one["by"], one["ending"]) for one in told["lines"]] == [
        ("command.asked", house.owner.email, "asked")
    ]


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        ("none", None, None),
        ("trying", None, "puts the old ones back by itself"),
        ("confirmed", None, "Confirmed"),
        ("reverted", "settings.unconfirmed", "so it put the old ones back"),
        ("failed", "settings.not-reverted", "could not put its old settings back"),
    ],
)
def test_settings_when_a_device_tries_them_then_its_page_says_how_they_stand(
    house: House, state: str, code: str | None, said: str | None
) -> None:
    """On trial, confirmed, or put back and why; nothing where nobody ever asked for any."""
    Device.objects.filter(pk=house.device.pk).update(settings_state=state, settings_code=code)
    page = _text(client_of(house.owner), address("device", house))
    assert ('id="standing"' in page) == (said is not None)
    assert said is None or said in page


def test_news_when_a_command_goes_a_step_then_the_list_and_the_device_have_some(house: House) -> None:
    """A page over many devices follows each step, also those that no line of the history tells."""
    can_all(house)
    looks: tuple[Callable[[], str], ...] = (
        lambda: project_look(house.project.pk),
        lambda: device_look(house.project.pk, house.device.pk),
    )
    seen = [[look()] for look in looks]
    command = asked(house)
    for act in (lambda: None, lambda: _queue(house), lambda: signer_at_work(house), lambda: holds(house), lambda: done(house, command)):  # fmt: skip
        act()
        for look, so_far in zip(looks, seen, strict=True):
            so_far.append(look())
    assert [len(set(one)) for one in seen] == [6, 6]


def _queue(house: House) -> None:
    """Let the signer decide while the device cannot be told."""
    mine = Device.objects.filter(pk=house.device.pk)
    mine.update(presence="away")
    signer_at_work(house)
    mine.update(presence="connected")


def test_pages_when_a_command_failed_then_they_say_whose_move_it_is_and_the_next_step(house: House) -> None:
    """On the device's page and beside each of several: what happened, what to do, its code, who has to do it, and the hook's words."""
    can_all(house)
    batch = ask_commands(house.project, [house.device], HELLO, who_of(house))
    signer_at_work(house)
    done(house, batch.commands.get(), "hook.failed", said=f"{'x' * 300}: no space left")
    client = client_of(house.owner)
    reason = reason_of("hook.failed")
    said = f'{reason.meaning} {reason.next} <span class="quiet whose"><code>hook.failed</code> · device maker\u2019s move</span>'
    everybody = reverse("batch", kwargs={"project_id": house.project.pk, "batch_id": batch.pk})
    for where in (address("device", house), everybody):
        page = _text(client, where)
        assert said in page
        assert "x: no space left</pre>" in page
    assert "x" * 300 not in _text(client, everybody)  # of many devices only the end
    cancelled = asked(house)
    cancel(cancelled, who_of(house))
    page = _text(client, address("device", house))
    assert "<code>command.cancelled</code></span>" in page  # nobody's move, and no next step
    assert "Nothing." not in page


@pytest.mark.feature("I11")
@pytest.mark.parametrize(
    ("role", "verbs", "offered"),
    [
        ("owner", ["health", "reboot"], ["health", "reboot"]),
        ("owner", [], []),
        ("owner", None, []),
        ("engineer", ["health", "reboot", "factory-reset"], ["health"]),
        ("admin", ["health", "reboot", "factory-reset"], ["health", "reboot"]),
        ("viewer", ["health", "reboot"], []),
    ],
)
def test_page_when_a_device_has_hooks_for_some_things_then_each_role_is_offered_what_it_may_of_those_alone(
    house: House, role: str, verbs: list[str] | None, offered: list[str]
) -> None:
    """No button leads to a refusal; and where the device can do nothing, there is none."""
    can_all(house, verbs=verbs)
    user = User.objects.create_user(f"{role}@example.com")
    Member.objects.create(project=house.project, user=user, role=role)
    page = _text(client_of(user), address("device", house))
    assert sorted(re.findall(r'id="ask-([a-z-]+)-button"', page)) == offered
