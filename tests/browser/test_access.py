"""The pages with a screen reader's eyes and without a mouse: names, roles, headings, focus."""

from collections.abc import Callable
from typing import Any

import pytest
from doorward_console.people.models import Member, Project
from playwright.sync_api import Page

from tests.browser.conftest import Console
from tests.browser.story import tell

pytestmark = [pytest.mark.real("chromium"), pytest.mark.timeout(120)]

FAULTS = """() => {
  const faults = [];
  const seen = (element) => element.getClientRects().length > 0;
  const text = (element) => (element.getAttribute("aria-label") || element.textContent || element.title || "").trim();
  for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
    if (!field.labels?.length && !field.getAttribute("aria-label")) faults.push("no label: " + field.outerHTML.slice(0, 90));
  for (const button of document.querySelectorAll("a[href], button, [role=switch], summary"))
    if (seen(button) && !text(button)) faults.push("no name: " + button.outerHTML.slice(0, 90));
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push("twice: #" + id);
  for (const element of document.querySelectorAll("[aria-labelledby], [aria-describedby]"))
    for (const id of `${element.getAttribute("aria-labelledby") || ""} ${element.getAttribute("aria-describedby") || ""}`.split(" "))
      if (id && !document.getElementById(id)) faults.push("points at nothing: #" + id);
  const levels = [...document.querySelectorAll("h1, h2, h3")].filter(seen).map((heading) => Number(heading.tagName[1]));
  if (levels.filter((level) => level === 1).length !== 1) faults.push("h1: " + levels);
  levels.forEach((level, at) => { if (at && level > levels[at - 1] + 1) faults.push("heading skipped: " + levels); });
  for (const image of document.querySelectorAll("svg:not([aria-hidden=true]), img:not([alt])")) faults.push("image: " + image.outerHTML.slice(0, 60));
  for (const cell of document.querySelectorAll("thead th")) if (!text(cell)) faults.push("column without a name");
  if (document.querySelectorAll("main").length !== 1 || !document.documentElement.lang) faults.push("no main, or no language");
  if ([...document.querySelectorAll("[tabindex]")].some((element) => element.tabIndex > 0)) faults.push("an order of its own");
  return faults;
}"""

ORDER = """() => {
  const at = document.activeElement.getBoundingClientRect();
  return { name: document.activeElement.outerHTML.slice(0, 80), top: at.top + window.scrollY, width: at.width };
}"""


def pages_of(console: Console) -> list[str]:
    """Give every page worth listening to, an empty project's among them."""
    devices = tell(console.house)
    empty = Project.objects.create(name="Okazaki reservoir")
    Member.objects.create(project=empty, user=console.house.owner, role="owner")
    parts = ("devices", "relays", "keys", "history", "members", "settings")
    found = [f"/projects/{project.id}/{part}/" for project in (console.house.project, empty) for part in parts]
    found += [f"/projects/{console.house.project.id}/devices/{device.id}/" for device in devices.values()]
    return [*found, f"/projects/{console.house.project.id}/relays/{console.house.relay.id}/", "/projects/", "/tokens/", "/password/"]  # fmt: skip


def test_pages_when_listened_to_then_everything_has_a_name_and_a_place(
    console: Console, visitor: Callable[..., Page]
) -> None:
    """Each field has its label, each button its name, each page one first heading and no step left out."""
    stranger = visitor()
    stranger.goto("/")
    found: dict[str, Any] = {"/sign-in/": stranger.evaluate(FAULTS)}
    page = visitor(console.house.owner.email)
    for path in pages_of(console):
        page.goto(path)
        found[path] = page.evaluate(FAULTS)
    assert {path: faults for path, faults in found.items() if faults} == {}


FAULTY = """<html><body><main><h1>One</h1><h3>Three</h3><input><button></button><i id="a"></i><i id="a"></i>
<p aria-labelledby="none">x</p><svg></svg><a href="/" tabindex="2">x</a></main></body></html>"""


def test_page_when_it_is_faulty_then_each_fault_is_found(console: Console, visitor: Callable[..., Page]) -> None:
    """The listener itself can hear."""
    page = visitor()
    page.set_content(FAULTY)
    found = {fault.partition(":")[0] for fault in page.evaluate(FAULTS)}
    assert found == {
        "no label", "no name", "twice", "points at nothing", "heading skipped", "image", "no main, or no language", "an order of its own",
    }  # fmt: skip


def test_open_device_when_gone_through_by_tab_then_the_skip_link_is_first_and_the_switch_before_what_is_below(
    console: Console, visitor: Callable[..., Page]
) -> None:
    """The keyboard goes where the eye goes: past the bar in one step, then the switch, the lines, the rest."""
    devices = tell(console.house)
    page = visitor(console.house.owner.email)
    page.goto(f"/projects/{console.house.project.id}/devices/{devices['Pump station 4, Nagoya'].id}/")
    page.locator("body").press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    passed = []
    for _ in range(9):
        page.keyboard.press("Tab")
        passed.append(page.evaluate(ORDER))
    assert 'id="switch"' in passed[1]["name"]
    tops = [one["top"] for one in passed]
    assert tops == sorted(tops), passed
    assert all(one["width"] > 0 for one in passed)
