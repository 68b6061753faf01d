"""What pages say of commands and of settings on trial: one line each, and news of every step."""

from collections.abc import Callable

import pytest
from django.test import Client
from doorward_console.fleet.models import Device
from doorward_console.maintenance.commands.asking import ask_commands
from doorward_console.pages.news import device_look, project_look

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


def test_history_when_it_was_asked_of_several_then_the_devices_page_tells_its_end_and_leads_to_all(
    house: House,
) -> None:
    """The line of the asking names no device, so each device's page tells how it ended there."""
    can_all(house)
    batch = ask_commands(house.project, [house.device], HELLO, who_of(house))
    signer_at_work(house)
    done(house, batch.commands.get())
    client = client_of(house.owner)
    page = _text(client, address("device", house))
    assert "“Show a message” has ended" in page
    assert page.count(f"/commands/{batch.pk}/") == 2  # from the card and from the history
    assert "“Show a message” was asked for on several devices" in _text(client, address_of("history", house.project))


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
