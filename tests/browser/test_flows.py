"""E1, E3 and E6 as people do them, in two browsers at once, with the real web process and its live stream.

Signer and worker are played by the test, which moves the database as they do (``scenes``) and rings the doorbell.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key
from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device
from doorward_console.keys.models import EngineerPair
from doorward_console.maintenance import asking
from doorward_console.maintenance.models import Intent
from doorward_console.people.models import Member
from playwright.sync_api import Page, expect

from tests.browser import scenes
from tests.browser.conftest import Console
from tests.console.web_process import start_web
from tests.parts.processes import Programs
from tests.parts.waiting import wait_until

pytestmark = [pytest.mark.real("chromium"), pytest.mark.timeout(120)]

STEPS = ("relay-granted", "ordered", "device-accepted", "door-opened", "tunnel-up")


def door_page(page: Page, console: Console) -> Page:
    """Go to the device's page as a person does: from the list."""
    page.goto("/")
    page.get_by_role("link", name=console.house.device.name).click()
    page.get_by_role("switch").wait_for()
    return page


def open_door(console: Console) -> None:
    """Play signer and worker until the door has answered."""
    session = scenes.begin(console.house.device)
    for name in (*STEPS, "answered"):
        scenes.step(session, name)


def turn(page: Page) -> bool:
    """Let the browser's events come in."""
    page.wait_for_timeout(20)
    return True


@pytest.mark.feature("E1")
def test_owner_makes_the_pair_and_saves_both_files(
    console: Console, visitor: Callable[..., Page], faults: list[str], tmp_path: Path
) -> None:
    """The owner is told before that the key is shown once, saves both files, and finds it nowhere afterwards."""
    scenes.give_ca_keys(console.house)
    scenes.take_pair_away(console.house)
    page = visitor(console.house.owner.email)
    page.get_by_role("link", name="Keys").click()
    expect(page.get_by_text("shown once, on the next page")).to_be_visible()
    page.get_by_role("button", name="Make the pair").click()
    files = {}
    for button in ("Download the private key", "Download the relay"):
        with page.expect_download() as download:
            page.get_by_role("button", name=button).click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        files[path.name] = path.read_bytes()
    project = console.house.project.id
    assert set(files) == {f"device-{project}.key", f"relay-server-{project}.key"}
    private = load_ssh_private_key(files[f"device-{project}.key"], None)
    kind, key, *_ = EngineerPair.objects.get(project=project).public_key.split()
    assert private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() == f"{kind} {key}"
    assert files[f"relay-server-{project}.key"].startswith(b'cert-authority,principals="')
    page.get_by_role("link", name="I have saved it").click()
    page.go_back()
    assert "BEGIN OPENSSH PRIVATE KEY" not in page.content()
    assert faults == []


@pytest.mark.feature("E3")
def test_toggle_turns_green_in_two_browsers_at_once_and_only_when_the_door_has_answered(
    console: Console, visitor: Callable[..., Page], faults: list[str]
) -> None:
    """The owner turns maintenance on; the engineer's open page follows by itself, step by step, and shows the ssh line."""
    house = console.house
    scenes.give_ca_keys(house)
    carla = scenes.person(house, "Carla", "engineer")
    owner = door_page(visitor(house.owner.email), console)
    engineer = door_page(visitor(carla.email), console)
    owner.get_by_role("switch").click()
    owner.get_by_role("radio", name="30 min").check(force=True)
    owner.get_by_role("textbox", name="Reason").fill("ticket 4711")
    owner.get_by_role("button", name="Turn on").click()
    for page in (owner, engineer):
        expect(page.get_by_role("heading", name="Opening")).to_be_visible()
        expect(page.get_by_role("switch")).to_have_attribute("aria-checked", "false")
    session = scenes.begin(house.device)
    for name in STEPS:
        scenes.step(session, name)
    for page in (owner, engineer):
        expect(page.get_by_text("tunnel reached the relay")).to_be_visible()
        expect(page.get_by_role("switch")).to_have_attribute("aria-checked", "false")
    scenes.step(session, "answered")
    for page in (owner, engineer):
        expect(page.get_by_role("heading", name="Open", exact=True)).to_be_visible()
        expect(page.get_by_role("switch")).to_have_attribute("aria-checked", "true")
        expect(page.get_by_text(f"remote-admin@{house.relay.host} -p 22001").first).to_be_visible()
        expect(page.locator("#live")).to_have_text("press 1: open")
    assert Intent.objects.get(kind="on").duration_s == 1800
    owner.get_by_role("button", name="Shut now").click()
    for page in (owner, engineer):
        expect(page.get_by_role("heading", name="Closing")).to_be_visible()
        expect(page.get_by_text("remote-admin@")).to_have_count(0)
    scenes.close(session)
    for page in (owner, engineer):
        expect(page.get_by_role("heading", name="Shut")).to_be_visible()
    assert faults == []


@pytest.mark.feature("E3")
def test_operator_enters_relay_and_port_and_two_devices_on_one_are_refused(
    console: Console, visitor: Callable[..., Page]
) -> None:
    """The relay's settings are typed on the device's page; a port that another device has is refused by name."""
    house = console.house
    second = Device.objects.create(project=house.project, name="press 2", state="joined")
    page = visitor(house.owner.email)
    page.goto(f"/projects/{house.project.id}/devices/{second.id}/")
    page.get_by_role("combobox", name="Relay").select_option(house.relay.id)
    page.get_by_label("Port on the relay").fill("22001")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("belongs to the device press 1 already")
    page.get_by_label("Port on the relay").fill("22002")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The way in was saved.")).to_be_visible()
    expect(page.get_by_label("Port on the relay")).to_have_value("22002")


@pytest.mark.feature("E6")
def test_history_shows_on_and_off_as_they_happen_and_is_filtered_by_address(
    console: Console, visitor: Callable[..., Page]
) -> None:
    """A second person's open history shows the first one's ON and OFF without a reload, with who and how it ended."""
    house = console.house
    viewer = scenes.person(house, "Vera", "viewer")
    history = visitor(viewer.email)
    history.get_by_role("link", name="Action History").click()
    expect(history.get_by_text("Nothing has happened yet")).to_be_visible()
    owner = door_page(visitor(house.owner.email), console)
    owner.get_by_role("switch").click()
    owner.get_by_role("button", name="Turn on").click()
    on = history.get_by_role("listitem").filter(has_text="ON: Start Remote M.")
    expect(on).to_contain_text(house.owner.email)
    open_door(console)
    expect(on).to_contain_text("Open")
    owner.get_by_role("button", name="Shut now").click()
    expect(history.get_by_role("listitem").filter(has_text="OFF: Stop Remote M.")).to_contain_text(house.owner.email)
    history.get_by_label("Person").fill("nobody")
    history.get_by_role("button", name="Show").click()
    expect(history.get_by_text("Nothing matches")).to_be_visible()
    assert "person=nobody" in history.url


def test_toggle_by_keyboard_alone(console: Console, visitor: Callable[..., Page]) -> None:
    """Nobody needs a mouse: to the switch, into the dialog, on, and off again; the focus is never lost."""
    page = door_page(visitor(console.house.owner.email), console)
    page.get_by_role("switch").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Opening")).to_be_visible()
    open_door(console)
    expect(page.get_by_role("heading", name="Open", exact=True)).to_be_visible()
    assert Intent.objects.get(kind="on").reason == "by keyboard"
    page.get_by_role("switch").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Closing")).to_be_visible()
    expect(page.get_by_role("switch")).to_be_focused()


def test_switch_pressed_in_the_moment_it_comes_then_the_page_stays_and_so_does_the_focus(
    console: Console, visitor: Callable[..., Page]
) -> None:
    """Whoever is quick presses a switch that came a moment ago: the page is not loaded anew under their fingers."""
    page = door_page(visitor(console.house.owner.email), console)
    page.get_by_role("switch").click()
    page.get_by_role("button", name="Turn on").click()
    expect(page.get_by_role("heading", name="Opening")).to_be_visible()
    page.evaluate(PRESS_WHEN_OPEN)
    open_door(console)
    expect(page.get_by_role("heading", name="Closing")).to_be_visible()
    assert page.evaluate("window.isTheSamePage")
    expect(page.get_by_role("switch")).to_be_focused()


PRESS_WHEN_OPEN = """() => {
  window.isTheSamePage = true;
  new MutationObserver((_, watching) => {
    const fresh = document.querySelector("#switch.open");
    if (!fresh) return;
    watching.disconnect();
    setTimeout(() => { fresh.focus(); fresh.click(); }, 1);
  }).observe(document.getElementById("door-live"), { childList: true });
}"""


def test_dialog_stays_while_the_page_lives_on(console: Console, visitor: Callable[..., Page]) -> None:
    """What happens elsewhere does not take a half-filled dialog away."""
    page = door_page(visitor(console.house.owner.email), console)
    page.get_by_role("switch").click()
    page.get_by_role("textbox", name="Reason").fill("half a sen")
    Device.objects.filter(pk=console.house.device.pk).update(presence="away")
    ring("web")
    expect(page.get_by_text(re.compile(r"^\s*Away"))).to_be_visible()
    expect(page.get_by_role("textbox", name="Reason")).to_have_value("half a sen")


def test_failure_is_shown_with_its_code_and_next_step_and_stays(console: Console, visitor: Callable[..., Page]) -> None:
    """A failed opening says why and what to do, also after a reload."""
    page = door_page(visitor(console.house.owner.email), console)
    page.get_by_role("switch").click()
    page.get_by_role("button", name="Turn on").click()
    expect(page.get_by_role("heading", name="Opening")).to_be_visible()
    session = scenes.begin(console.house.device)
    scenes.step(session, "relay-granted", "relay.unreachable")
    scenes.fail(session, "relay.unreachable")
    expect(page.get_by_role("heading", name="Failed")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Check that doorward-relay runs")).to_be_visible()
    expect(page.get_by_text("relay.unreachable").first).to_be_visible()


def test_member_who_was_removed_is_told_nothing_more(console: Console, visitor: Callable[..., Page]) -> None:
    """The open page of somebody who is no member any more follows nothing from the next wake on."""
    carla = scenes.person(console.house, "Carla", "engineer")
    page = door_page(visitor(carla.email), console)
    streams: list[str] = []
    page.on("requestfinished", lambda request: streams.append(request.url) if "/events/" in request.url else None)
    Member.objects.filter(user=carla).delete()
    asking.turn_on(console.house.device, console.house.owner, "", 900)
    open_door(console)
    wait_until(lambda: turn(page) and streams, what="the stream's end")
    expect(page.get_by_role("heading", name="Shut")).to_be_visible()
    assert page.get_by_text(re.compile("remote-admin@")).count() == 0


def test_theme_is_switched_and_remembered(console: Console, visitor: Callable[..., Page]) -> None:
    """The switch goes from the system's colours to light to dark, and the choice outlives the page."""
    page = visitor(console.house.owner.email, color_scheme="light")
    switch = page.get_by_role("button", name="Switch between light, dark")
    switch.click()
    switch.click()
    background = "getComputedStyle(document.documentElement).backgroundColor"
    dark = page.evaluate(background)
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.evaluate(background) == dark


def test_times_are_in_the_viewers_zone_with_utc_on_hover(console: Console, visitor: Callable[..., Page]) -> None:
    """A viewer in Tokyo reads Tokyo's time, and UTC on hover."""
    page = door_page(visitor(console.house.owner.email, timezone_id="Asia/Tokyo"), console)
    time = page.locator("dd time").last
    said = time.evaluate("element => [element.textContent, element.title, element.dateTime]")
    assert said[1].endswith(" UTC")
    local = page.evaluate(
        "at => new Date(at).toLocaleTimeString('en-GB', {hour: '2-digit', minute: '2-digit', timeZone: 'Asia/Tokyo'})",
        said[2],
    )
    assert said[0].endswith(local)


def test_page_after_the_web_process_came_back_is_true_again(
    console: Console, visitor: Callable[..., Page], programs: Programs, scratch: Path
) -> None:
    """An open page finds its stream again by itself and shows what happened in between."""
    own = start_web(programs, scratch)
    page = visitor(console.house.owner.email, base_url=own.url)
    door_page(page, console)
    own.stop()
    asking.turn_on(console.house.device, console.house.owner, "", 900)
    open_door(console)
    own.start()
    expect(page.get_by_role("heading", name="Open", exact=True)).to_be_visible(timeout=20_000)


def test_list_of_devices_follows_by_itself_and_keeps_its_filter(console: Console, visitor: Callable[..., Page]) -> None:
    """The open list says how many doors are open as it happens, and a filter that was typed stays."""
    Device.objects.create(project=console.house.project, name="pump 9", state="joined")
    page = visitor(console.house.owner.email)
    expect(page.get_by_text("All doors shut")).to_be_visible()
    page.get_by_label("Search by name").fill("press")
    expect(page.get_by_role("link", name="pump 9")).to_have_count(0)
    asking.turn_on(console.house.device, console.house.owner, "", 900)
    open_door(console)
    expect(page.locator("#rows")).to_contain_text("1 door open")
    expect(page.get_by_role("row").filter(has_text="press 1")).to_contain_text("Open")
    expect(page.get_by_role("link", name="pump 9")).to_have_count(0)
    assert "q=press" in page.url


@pytest.mark.feature("E4")
def test_ssh_line_is_copied_and_the_session_extended(console: Console, visitor: Callable[..., Page]) -> None:
    """One click puts the line where it can be pasted; Extend asks for more time, counted from now."""
    scenes.give_ca_keys(console.house)
    asking.turn_on(console.house.device, console.house.owner, "", 900)
    open_door(console)
    page = visitor(console.house.owner.email, permissions=["clipboard-read", "clipboard-write"])
    door_page(page, console)
    page.get_by_role("button", name="Copy: ssh line", exact=True).click()
    expect(page.get_by_text("Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.get_by_label("ssh line", exact=True).inner_text()
    page.get_by_role("button", name="Extend").click()
    page.get_by_role("radio", name="4 h", exact=True).check(force=True)
    page.get_by_role("dialog").get_by_role("button", name="Extend").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    wait_until(lambda: turn(page) and Intent.objects.filter(kind="extend").first(), what="the wish to extend")
    assert Intent.objects.get(kind="extend").duration_s == 14_400
