"""Commands as people give them: asked for, watched in two browsers at once, confirmed by a name, taken back, given to many.

Signer and device are played by the test, with the functions that the signer and the worker call (``carrying``).
"""

from collections.abc import Callable

import pytest
from django.utils import timezone
from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device
from doorward_console.maintenance.models import Batch, Command
from doorward_protocol.commands import VERBS
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser import carrying, scenes
from tests.browser.conftest import Console
from tests.console.rig import keep_keys

pytestmark = [pytest.mark.real("chromium"), pytest.mark.timeout(120)]

Visitor = Callable[..., Page]
HEARD = {"verbs": list(VERBS), "nonce": "n" * 22, "runner_nonce": "r" * 22}


@pytest.fixture
def plant(console: Console) -> Console:
    """The console with a device that is there and has a hook for everything."""
    keep_keys(console.house)
    Device.objects.filter(pk=console.house.device.pk).update(**HEARD, seen_at=timezone.now())
    return console


def device_page(page: Page, console: Console) -> Page:
    """Go to the device's page, and mark it: a page that was loaded anew has no mark."""
    page.goto(f"/projects/{console.house.project.id}/devices/{console.house.device.id}/")
    page.evaluate("window.isTheSame = true")
    return page


def is_the_same(page: Page) -> bool:
    """Tell whether the page was not loaded anew since it was marked."""
    return bool(page.evaluate("window.isTheSame === true"))


def newest(page: Page) -> Locator:
    """Give the newest command on the card."""
    return page.locator("#commands .entry").first


def presence(console: Console, word: str) -> None:
    """Let the device come or go."""
    Device.objects.filter(pk=console.house.device.pk).update(presence=word, presence_at=timezone.now())
    ring("web")


@pytest.mark.feature("I11")
def test_owner_asks_for_a_restart_then_two_browsers_follow_it_to_its_end_without_loading_anew(
    plant: Console, visitor: Visitor, faults: list[str]
) -> None:
    """Asked in a dialog; it waits while the device is away, is told, begins and ends, and both pages say each step at once."""
    presence(plant, "away")
    owner = device_page(visitor(plant.house.owner.email), plant)
    engineer = device_page(visitor(scenes.person(plant.house, "Carla", "engineer").email), plant)
    owner.get_by_role("button", name="Restart", exact=True).click()
    dialog = owner.get_by_role("dialog")
    expect(dialog).to_contain_text("An open door shuts, and whoever works there loses what is not saved.")
    dialog.get_by_label("Reason").fill("ticket 4711")
    assert not Command.objects.exists()
    dialog.get_by_role("button", name="Restart").click()
    for page in (owner, engineer):
        expect(newest(page)).to_contain_text("Restart")
        expect(newest(page)).to_contain_text("“ticket 4711”")
    expect(owner.get_by_role("dialog")).to_have_count(0)
    carrying.sign()
    for page in (owner, engineer):
        expect(newest(page)).to_contain_text("Waiting")
        expect(newest(page)).to_contain_text("waits for the device")
    presence(plant, "connected")
    carrying.sign()
    for page in (owner, engineer):
        expect(newest(page)).to_contain_text("Told")
    command = Command.objects.get()
    carrying.begin(command)
    for page in (owner, engineer):
        expect(newest(page)).to_contain_text("At work")
    expect(owner.get_by_role("button", name="Cancel: Restart")).to_have_count(0)
    carrying.end(command, lasted_ms=41_300)
    for page in (owner, engineer):
        expect(newest(page)).to_contain_text("Done")
        expect(newest(page)).to_contain_text("took 41.3 s")
        assert is_the_same(page)
    assert faults == []


def _double_click(button: Locator) -> None:
    button.dblclick()


def _enter_twice(button: Locator) -> None:
    field = button.page.get_by_role("dialog").get_by_label("Reason")
    field.press("Enter")
    field.page.keyboard.press("Enter")


def _at_one_moment(button: Locator) -> None:
    button.evaluate("button => { button.click(); button.click(); }")


@pytest.mark.feature("I11")
@pytest.mark.parametrize("press", [_double_click, _enter_twice, _at_one_moment])
def test_owner_presses_twice_then_it_is_asked_once_and_the_next_wish_is_another(
    plant: Console, visitor: Visitor, faults: list[str], press: Callable[[Locator], None]
) -> None:
    """A double click and a second Enter are the same wish; the same dialog opened again is a new one."""
    page = device_page(visitor(plant.house.owner.email), plant)
    for asked in (1, 2):
        page.get_by_role("button", name="Check its health", exact=True).click()
        press(page.get_by_role("dialog").get_by_role("button", name="Check its health"))
        expect(page.locator("#commands .entry")).to_have_count(asked)
        page.evaluate("fetch(location.href).then((answer) => answer.text())")  # what was sent before it is answered
        assert Command.objects.count() == asked
        page.keyboard.press("Escape")  # a second click may have opened something that lay beneath the dialog
    assert is_the_same(page)
    assert faults == []


@pytest.mark.feature("I11")
@pytest.mark.parametrize("fate", ["lost", "late"])
def test_owner_presses_again_since_no_answer_came_then_it_was_asked_once(
    plant: Console, visitor: Visitor, fate: str
) -> None:
    """The console had taken the first press, and its answer was lost or hangs in a slow network: the second gives what there is."""
    page = device_page(visitor(plant.house.owner.email), plant)
    held, taken = list[Route](), list[int]()

    def first_alone(route: Route) -> None:
        if held:
            route.continue_()
            return
        held.append(route)
        taken.append(route.fetch().status)
        if fate == "lost":
            route.abort()

    def press() -> None:
        page.get_by_role("button", name="Restart", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Restart").click()
        expect(page.get_by_role("dialog")).to_have_count(0)

    page.route("**/commands/ask/**", first_alone)
    first = page.locator("#mark-reboot").input_value()
    press()
    while not taken:  # the test's own limit ends it
        page.wait_for_timeout(20)
    press()
    expect(page.locator("#mark-reboot")).not_to_have_value(first)  # the second press was answered
    expect(page.locator("#commands .entry")).to_have_count(1)
    expect(page.locator("#commands").get_by_role("alert")).to_have_count(0)
    assert (taken, Command.objects.count()) == ([200], 1)
    press()
    expect(page.locator("#commands .entry")).to_have_count(2)
    assert Command.objects.count() == 2


@pytest.mark.feature("I14")
@pytest.mark.parametrize(("verb", "button"), [("shutdown", "Shut down"), ("factory-reset", "Reset to factory state")])
def test_owner_asks_for_what_cannot_be_taken_back_then_only_the_devices_exact_name_confirms_it(
    plant: Console, visitor: Visitor, faults: list[str], verb: str, button: str
) -> None:
    """A wrong name keeps the dialog open; a browser that lets it through is told by the server; the right one is taken."""
    page = device_page(visitor(plant.house.owner.email), plant)
    page.get_by_role("button", name=button, exact=True).click()
    dialog, confirm = page.get_by_role("dialog"), page.get_by_role("dialog").locator("[name=confirm]")
    expect(dialog).to_contain_text(f"To confirm, type {plant.house.device.name}")
    for typed in ("", "Press 1", "yes"):
        confirm.fill(typed)
        dialog.get_by_role("button", name=button).click()
        expect(dialog).to_be_visible()
        assert confirm.evaluate("field => !field.validity.valid")
    confirm.evaluate("field => { field.form.noValidate = true; }")
    dialog.get_by_role("button", name=button).click()
    expect(page.locator("#commands").get_by_role("alert")).to_contain_text("a name has to be typed with it")
    assert not Command.objects.exists()
    page.get_by_role("button", name=button, exact=True).click()
    confirm.fill(plant.house.device.name)
    dialog.get_by_role("button", name=button).click()
    expect(newest(page)).to_contain_text(button)
    carrying.sign()
    expect(newest(page)).to_contain_text("Told")
    assert [(one.verb, one.state) for one in Command.objects.all()] == [(verb, "ordered")]
    assert is_the_same(page)
    assert faults == []


@pytest.mark.feature("I11")
def test_owner_cancels_what_waits_then_two_browsers_say_who_did_and_the_device_is_never_told(
    plant: Console, visitor: Visitor, faults: list[str]
) -> None:
    """One button, no loading anew, and nothing is left to be signed when the device comes back."""
    presence(plant, "away")
    owner = device_page(visitor(plant.house.owner.email), plant)
    admin = device_page(visitor(scenes.person(plant.house, "Benjamin", "admin").email), plant)
    owner.get_by_role("button", name="Restart", exact=True).click()
    owner.get_by_role("dialog").get_by_role("button", name="Restart").click()
    expect(newest(owner)).to_contain_text("Asked")
    carrying.sign()
    expect(newest(admin)).to_contain_text("Waiting")
    admin.get_by_role("button", name="Cancel: Restart").click()
    for page in (owner, admin):
        expect(newest(page)).to_contain_text("Cancelled")
        expect(newest(page)).to_contain_text("by benjamin@example.com")
        expect(page.get_by_role("button", name="Cancel: Restart")).to_have_count(0)
        assert is_the_same(page)
    presence(plant, "connected")
    carrying.sign()
    assert Command.objects.get().state == "cancelled"
    assert not plant.house.device.orders.exists()
    assert faults == []


@pytest.mark.feature("I11")
def test_owner_removes_a_device_then_its_exact_name_confirms_it_and_it_is_off_the_list(
    plant: Console, visitor: Visitor, faults: list[str]
) -> None:
    """The dialog says what ends with it; a wrong name removes nothing; whoever else looks at it is told that it is gone."""
    page = device_page(visitor(plant.house.owner.email), plant)
    other = device_page(visitor(scenes.person(plant.house, "Carla", "engineer").email), plant)
    page.get_by_role("button", name="Remove", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("An open door is shut at once")
    dialog.locator("[name=confirm]").fill("press 2")
    dialog.get_by_role("button", name="Remove").click()
    expect(dialog).to_be_visible()
    assert Device.objects.get().removed_at is None
    dialog.locator("[name=confirm]").fill(plant.house.device.name)
    dialog.get_by_role("button", name="Remove").click()
    expect(page.get_by_text(f"{plant.house.device.name} was removed. Its history stays.")).to_be_visible()
    expect(page.get_by_role("link", name=plant.house.device.name)).to_have_count(0)
    assert Device.objects.get().removed_at is not None
    expect(other.get_by_role("heading", name=plant.house.device.name)).to_have_count(0)
    expect(other.get_by_text("There is no such device in this project.")).to_be_visible()
    assert [fault for fault in faults if "404" not in fault] == []  # what is gone is asked for once more


def meters(console: Console, count: int) -> list[Device]:
    """Add devices that are there."""
    joined = HEARD | {
        "state": "joined",
        "presence": "connected",
        "joined_at": timezone.now(),
        "seen_at": timezone.now(),
    }
    return [
        Device.objects.create(project=console.house.project, name=f"Meter {n}", **joined) for n in range(1, count + 1)
    ]


@pytest.mark.feature("I11")
def test_owner_asks_several_then_two_browsers_follow_each_result_and_stop_ends_what_has_not_begun(
    plant: Console, visitor: Visitor, faults: list[str]
) -> None:
    """Marked in the list, looked at, asked; progress and each device's result live; one button stops the rest."""
    first, second, third = meters(plant, 3)
    owner = visitor(plant.house.owner.email)
    owner.goto(f"/projects/{plant.house.project.id}/devices/")
    bar = owner.get_by_role("form", name="What to ask of the marked devices")
    expect(bar).to_be_hidden()
    for one in (first, second, third):
        owner.get_by_label(f"Mark {one.name}").check()
    expect(bar).to_contain_text("3 marked")
    bar.get_by_role("button", name="Restart").click()
    expect(owner.get_by_role("heading", name="Restart: 3 devices")).to_be_visible()
    assert not Command.objects.exists()
    owner.get_by_role("button", name="Restart all 3").click()
    expect(owner.get_by_role("progressbar")).to_have_attribute("value", "0")
    other = visitor(scenes.person(plant.house, "Vera", "viewer").email)
    other.goto(owner.url)
    for page in (owner, other):
        page.evaluate("window.isTheSame = true")
    carrying.sign()
    commands = {one.device_id: one for one in Command.objects.all()}
    carrying.end(commands[first.pk], lasted_ms=31_100)
    carrying.begin(commands[second.pk])
    for page in (owner, other):
        expect(page.get_by_role("progressbar")).to_have_attribute("value", "1")
        for one, word in ((first, "Done"), (second, "At work"), (third, "Told")):
            expect(page.get_by_role("row", name=one.name)).to_contain_text(word)
        assert is_the_same(page)
    expect(other.get_by_role("button", name="Stop")).to_have_count(0)
    owner.get_by_role("button", name="Stop the one that has not begun").click()
    expect(owner.get_by_text("Stopped: 1 device will not be told.")).to_be_visible()
    for page in (owner, other):
        expect(page.get_by_role("progressbar")).to_have_attribute("value", "2")
        expect(page.get_by_role("row", name=third.name)).to_contain_text("Cancelled")
        expect(page.get_by_role("row", name=second.name)).to_contain_text("At work")
    carrying.end(commands[second.pk], code="hook.failed", status=1)
    for page in (owner, other):
        expect(page.get_by_role("row", name=second.name)).to_contain_text(
            "The hook ended with a status that means failure."
        )
        expect(page.get_by_role("progressbar")).to_have_attribute("value", "3")
    assert is_the_same(other)
    assert Batch.objects.get().stopped_by_name == plant.house.owner.email
    assert faults == []


@pytest.mark.feature("I11")
def test_owner_shuts_several_down_then_the_projects_name_confirms_it(
    plant: Console, visitor: Visitor, faults: list[str]
) -> None:
    """What cannot be taken back is confirmed for several devices by the project's name: another one asks for nothing."""
    meters(plant, 2)
    page = visitor(plant.house.owner.email)
    page.goto(f"/projects/{plant.house.project.id}/devices/")
    page.get_by_label("Mark all that are shown").check()
    page.get_by_role("button", name="Shut down").click()
    page.locator("[name=confirm]").fill(plant.house.device.name)
    page.get_by_role("button", name="Shut down all 3").click()
    assert page.locator("[name=confirm]").evaluate("field => !field.validity.valid")
    page.locator("[name=confirm]").evaluate("field => { field.form.noValidate = true; }")
    page.get_by_role("button", name="Shut down all 3").click()
    expect(page.get_by_role("alert")).to_contain_text("name has to be typed")
    assert not Command.objects.exists()
    page.locator("[name=confirm]").fill("Nagoya waterworks")
    page.get_by_role("button", name="Shut down all 3").click()
    expect(page.get_by_text("0 of 3 have ended")).to_be_visible()
    assert Command.objects.filter(verb="shutdown").count() == 3
    assert faults == []


@pytest.mark.threat("lesser-role")
def test_viewer_looks_at_commands_then_there_is_nothing_to_press(
    plant: Console, visitor: Visitor, faults: list[str]
) -> None:
    """A viewer reads what was asked and how it went: no button, no dialog, no mark in the list."""
    owner = device_page(visitor(plant.house.owner.email), plant)
    owner.get_by_role("button", name="Check its health", exact=True).click()
    owner.get_by_role("dialog").get_by_role("button", name="Check its health").click()
    expect(newest(owner).get_by_role("button", name="Cancel: Check its health")).to_be_visible()
    viewer = device_page(visitor(scenes.person(plant.house, "Vera", "viewer").email), plant)
    expect(newest(viewer)).to_contain_text("Check its health")
    expect(viewer.locator("#commands button")).to_have_count(0)
    expect(viewer.locator("dialog")).to_have_count(0)
    viewer.get_by_role("link", name="Devices").first.click()
    expect(viewer.get_by_role("link", name=plant.house.device.name)).to_be_visible()
    expect(viewer.get_by_role("checkbox")).to_have_count(0)
    expect(viewer.locator("#bulk")).to_have_count(0)
    assert faults == []
