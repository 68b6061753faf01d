"""What a person presses is heard, whatever the page refreshes by itself in that moment; and if not, the page says so."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from django.utils import timezone
from doorward_console.fleet.models import Device
from doorward_console.maintenance import asking
from doorward_console.maintenance.models import Command, Intent, Session
from doorward_console.people.models import Member
from doorward_protocol.commands import VERBS
from playwright.sync_api import APIResponse, Page, Route, expect

from tests.browser import scenes
from tests.browser.conftest import Console
from tests.console.rig import keep_keys
from tests.parts.waiting import wait_until

pytestmark = [pytest.mark.real("chromium"), pytest.mark.timeout(120)]

Visitor = Callable[..., Page]


@dataclass
class Held:
    """What a page asks of some address: it waits, as in a slow network, until all is let go."""

    page: Page
    routes: list[Route] = field(default_factory=list)
    is_over: bool = False

    def hold(self, route: Route) -> None:
        """Keep one, or let it go where all are."""
        if self.is_over:
            route.continue_()
        else:
            self.routes.append(route)

    def wait_for(self, count: int) -> None:
        """Wait until so many wait."""
        wait_until(lambda: turn(self.page) and len(self.routes) >= count, what=f"request {count}")


@contextmanager
def held(page: Page, address: str) -> Iterator[Held]:
    """Hold what a page asks of an address; at the end all goes, in its order."""
    one = Held(page)
    page.route(address, one.hold)
    yield one
    one.is_over = True
    for route in one.routes:
        route.continue_()
    page.unroute(address)


def turn(page: Page) -> bool:
    """Let the browser's events come in."""
    page.wait_for_timeout(20)
    return True


@pytest.fixture
def plant(console: Console) -> Console:
    """The console with a device that is there and has a hook for everything."""
    keep_keys(console.house)
    seen = {"verbs": list(VERBS), "nonce": "n" * 22, "runner_nonce": "r" * 22, "seen_at": timezone.now()}
    Device.objects.filter(pk=console.house.device.pk).update(**seen)
    return console


def device_page(page: Page, console: Console) -> Page:
    page.goto(f"/projects/{console.house.project.id}/devices/{console.house.device.id}/")
    page.get_by_role("switch").wait_for()
    return page


def open_door(console: Console) -> None:
    session = scenes.begin(console.house.device)
    for name in ("relay-granted", "ordered", "device-accepted", "door-opened", "tunnel-up", "answered"):
        scenes.step(session, name)


def refresh(page: Page, part: str) -> None:
    """Let news come for a part, as the stream's extension does."""
    page.evaluate("part => htmx.trigger(part, 'sse:news')", part)


def amid_news(page: Page, part: str, press: Callable[[], None]) -> None:
    """Press while one refresh of a part is under way and a second waits; a third comes after it."""
    with held(page, f"**/{part}/") as refreshes:
        refresh(page, f"#{part}-live")
        refreshes.wait_for(1)
        refresh(page, f"#{part}-live")
        press()
        refresh(page, f"#{part}-live")


@pytest.mark.feature("E3")
def test_door_when_pressed_amid_news_then_each_press_is_heard(
    plant: Console, visitor: Visitor, faults: list[str]
) -> None:
    """On, longer, off by the button and off by the switch, each while the card is about to be replaced."""
    page = device_page(visitor(plant.house.owner.email), plant)

    def on() -> None:
        page.get_by_role("switch").click()
        page.get_by_role("button", name="Turn on").click()

    def longer() -> None:
        page.get_by_role("button", name="Extend").click()
        page.get_by_role("dialog").get_by_role("button", name="Extend").click()

    for off in (page.get_by_role("button", name="Shut now"), page.get_by_role("switch")):
        amid_news(page, "door", on)
        expect(page.get_by_role("heading", name="Opening")).to_be_visible()
        open_door(plant)
        expect(page.get_by_role("heading", name="Open", exact=True)).to_be_visible()
        amid_news(page, "door", longer)
        wait_until(
            lambda: turn(page) and Intent.objects.filter(kind="extend", state="asked"), what="the wish to extend"
        )
        amid_news(page, "door", off.click)
        expect(page.get_by_role("heading", name="Closing")).to_be_visible()
        scenes.close(Session.objects.latest("requested_at"))
        expect(page.get_by_role("heading", name="Shut")).to_be_visible()
    assert [one.kind for one in Intent.objects.order_by("pk")] == ["on", "extend", "off"] * 2
    assert faults == []


@pytest.mark.feature("I11")
def test_commands_when_pressed_amid_news_and_one_another_then_each_press_is_heard(
    plant: Console, visitor: Visitor, faults: list[str]
) -> None:
    """Two are asked for and both taken back while the answer to the first press hangs: no press takes another's place."""
    page = device_page(visitor(plant.house.owner.email), plant)

    def ask(name: str) -> None:
        page.get_by_role("button", name=name, exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name=name).click()

    amid_news(page, "commands", lambda: ask("Restart"))
    expect(page.get_by_role("button", name="Cancel: Restart")).to_be_visible()
    with held(page, "**/commands/ask/**") as asked:
        ask("Check its health")
        asked.wait_for(1)
        ask("Read system information")
        asked.wait_for(2)
    expect(page.locator("#commands .entry")).to_have_count(3)
    with held(page, "**/cancel/") as cancelled:
        for number, name in enumerate(("Restart", "Check its health")):
            page.get_by_role("button", name=f"Cancel: {name}").click()
            cancelled.wait_for(number + 1)
    expect(page.locator("#commands .told-head").filter(has_text="Cancelled")).to_have_count(2)
    assert Command.objects.filter(state="cancelled").count() == 2
    assert faults == []


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_button_when_news_come_while_it_is_held_down_then_it_is_pressed_all_the_same(
    plant: Console, visitor: Visitor, by: str
) -> None:
    """A finger takes a tenth of a second: what is under it stays until it is lifted, and is shown as it is then."""
    asking.turn_on(plant.house.device, plant.house.owner, "", 900)
    open_door(plant)
    page = device_page(visitor(plant.house.owner.email), plant)
    shut = page.get_by_role("button", name="Shut now")
    shut.evaluate("button => { window.first = button; }")
    shut.hover()
    shut.focus()
    hand = (
        (page.mouse.down, page.mouse.up)
        if by == "mouse"
        else tuple(lambda act=act: act("Space") for act in (page.keyboard.down, page.keyboard.up))
    )
    hand[0]()
    with page.expect_response("**/door/"):
        refresh(page, "#door-live")
    assert page.evaluate("window.first.isConnected")
    hand[1]()
    expect(page.get_by_role("heading", name="Closing")).to_be_visible()
    assert Intent.objects.filter(kind="off").count() == 1


def test_card_when_a_refresh_began_before_the_press_then_it_does_not_show_what_was(
    plant: Console, visitor: Visitor
) -> None:
    """The console answered a refresh before it knew of the press, and that comes last: the card shows what the press changed."""
    page = device_page(visitor(plant.house.owner.email), plant)
    late = list[Route]()

    def answer_late(route: Route) -> None:
        late.append(route)
        if len(late) == 1:
            early.append(route.fetch())
        else:
            route.continue_()

    early = list[APIResponse]()
    page.route("**/door/", answer_late)
    refresh(page, "#door-live")
    wait_until(lambda: turn(page) and early, what="the first refresh")
    page.get_by_role("switch").click()
    page.get_by_role("button", name="Turn on").click()
    expect(page.get_by_role("heading", name="Opening")).to_be_visible()
    page.evaluate(WATCH)
    with page.expect_response("**/door/"):
        late[0].fulfill(response=early[0])
    wait_until(lambda: turn(page) and len(late) > 1, what="that it is asked anew")
    assert page.evaluate("window.headings") in ([], ["Opening"])


WATCH = """() => {
  window.headings = [];
  new MutationObserver(() => {
    window.headings.push(document.getElementById("door-title").textContent.trim());
  }).observe(document.getElementById("door-live"), { childList: true });
}"""


@pytest.mark.feature("E3")
def test_press_when_it_is_not_answered_or_refused_then_the_page_says_so_and_what_to_do(
    plant: Console, visitor: Visitor
) -> None:
    """No answer, a mistake of the console's, a role that was taken away: one sentence beside what was pressed, until one is heard."""
    asking.turn_on(plant.house.device, plant.house.owner, "", 900)
    open_door(plant)
    benjamin = scenes.person(plant.house, "Benjamin", "admin")
    page = device_page(visitor(benjamin.email), plant)
    shut, alert = page.get_by_role("button", name="Shut now"), page.get_by_role("main").get_by_role("alert")
    page.route("**/door/off/", lambda route: route.abort())
    shut.click()
    expect(alert).to_contain_text("The console did not answer, so what you pressed may not have been done.")
    expect(alert).to_contain_text("press again")
    page.unroute("**/door/off/")
    page.route("**/door/off/", lambda route: route.fulfill(status=502, body="Bad gateway"))
    with page.expect_response("**/door/"):
        shut.click()
    expect(alert).to_contain_text("status 502")
    page.unroute("**/door/off/")
    Member.objects.filter(user=benjamin).update(role="viewer")
    shut.click()
    expect(alert).to_contain_text("In this project that is for its owner and its admins; you are a viewer.")
    expect(page.get_by_role("switch")).to_have_attribute("aria-disabled", "true")
    Member.objects.filter(user=benjamin).update(role="admin")
    refresh(page, "#door-live")
    shut.click()
    expect(page.get_by_role("heading", name="Closing")).to_be_visible()
    expect(alert).to_have_count(0)
    page.context.clear_cookies()
    refresh(page, "#door-live")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert "/door/" not in page.url


LOOKED_AWAY = """() => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => window.isHidden });
  window.isHidden = true;
  document.dispatchEvent(new Event("visibilitychange"));
}"""
LOOKED_AGAIN = """() => { window.isHidden = false; document.dispatchEvent(new Event("visibilitychange")); }"""


@pytest.mark.feature("E3")
def test_page_when_as_many_are_open_as_a_browser_has_connections_then_it_is_heard_and_others_are_true_when_looked_at(
    plant: Console, visitor: Visitor
) -> None:
    """Six tabs, of which one is looked at: the stream of each would take a connection, and a browser has six for a host."""
    first = device_page(visitor(plant.house.owner.email), plant)
    last = first
    for _ in range(5):
        last.evaluate(LOOKED_AWAY)
        last = device_page(first.context.new_page(), plant)
    last.get_by_role("switch").click()
    last.get_by_role("button", name="Turn on").click()
    expect(last.get_by_role("heading", name="Opening")).to_be_visible()
    expect(first.get_by_role("heading", name="Shut")).to_be_visible()
    first.evaluate(LOOKED_AGAIN)
    expect(first.get_by_role("heading", name="Opening")).to_be_visible()
