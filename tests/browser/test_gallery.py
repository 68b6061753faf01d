"""Pictures of every page, light and dark, phone and desk, to be looked at.

``make screenshots`` takes them and brings those that stand in docs/screenshots/ up to date; DOORWARD_SCREENSHOTS names
another folder for all of them.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest
from django.utils import timezone
from doorward_console.fleet.models import Device
from doorward_console.people.models import Member, Project
from playwright.sync_api import Page, expect

from tests.browser import commanded, put_back
from tests.browser.conftest import Console
from tests.browser.pictures import FILES, PLACES, THEMES
from tests.browser.scenes import give_settings
from tests.browser.story import seal, tell

pytestmark = [pytest.mark.real("chromium"), pytest.mark.timeout(120)]

LOOKS = (
    list(product(PLACES, THEMES)) if "DOORWARD_SCREENSHOTS" in os.environ else list(zip(PLACES, THEMES, strict=True))
)
"""Each size and each colours once; every pair of them where somebody wants the pictures: that takes a minute more."""
DIALOGS = {"reboot": "Restart", "reset": "Reset to factory state", "remove": "Remove"}
"""What is asked about in a dialog on a device's page, and the button for it."""
NOT_A_FAULT = ("400", "404", "409")
"""One of the pictures is of a page that is not there, two are of what is refused."""


@dataclass(frozen=True)
class Camera:
    """Takes pictures of a page, and notes which page is wider than its screen."""

    page: Page
    folder: Path
    ending: str
    wide: list[str]

    def take(self, name: str, *, whole: bool = True) -> None:
        """Take one, of the whole page or of what the screen shows."""
        self.page.wait_for_load_state("load")
        self.page.screenshot(path=self.folder / f"{name}-{self.ending}.png", full_page=whole)
        if self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            self.wide.append(name)


@pytest.mark.parametrize(("place", "theme"), LOOKS)
def test_pages_when_looked_at_have_no_fault_in_the_console_and_do_not_scroll_sideways(
    console: Console, visitor: Callable[..., Page], faults: list[str], tmp_path: Path, theme: str, place: str
) -> None:
    """Every page fits its screen, and the browser has nothing to complain about: no script refused, no file missing."""
    folder = Path(os.environ.get("DOORWARD_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    width, height = PLACES[place]
    options = {"viewport": {"width": width, "height": height}, "color_scheme": theme}
    options |= {"timezone_id": "Asia/Tokyo", "locale": "en-GB"}
    paths = _paths(console)
    wide: list[str] = []
    stranger = visitor(**options)
    stranger.goto("/")
    Camera(stranger, folder, f"{place}-{theme}", wide).take("sign-in")
    camera = Camera(visitor(console.house.owner.email, **options), folder, f"{place}-{theme}", wide)
    for name, path in paths.items():
        camera.page.goto(path)
        if name == "api":
            camera.page.get_by_text("/api/v1/devices/{device_id}/door").first.wait_for()
        camera.take(name)
    _dialogs(camera, paths)
    _bulk(camera, console)
    _first_minutes(camera, console)
    _licence(camera, console)
    _settings(camera, console)
    assert wide == []
    assert [fault for fault in faults if not any(one in fault for one in NOT_A_FAULT)] == []
    made = {path.name for path in folder.glob(f"*-{place}-{theme}.png")}
    assert made == {name for name in FILES if name.endswith(f"-{place}-{theme}.png")}


def _dialogs(camera: Camera, paths: dict[str, str]) -> None:
    """Turn on, and replace the pair: asked about in a dialog, and answered by a page that comes once."""
    page = camera.page
    page.goto(paths["device-shut"])
    page.get_by_role("switch").click()
    page.get_by_role("dialog").wait_for()
    camera.take("dialog", whole=False)
    for name in ("reboot", "reset", "remove"):
        page.goto(paths["device-shut"])
        page.get_by_role("button", name=DIALOGS[name], exact=True).click()
        page.get_by_role("dialog").wait_for()
        camera.take(f"dialog-{name}", whole=False)
    page.goto(paths["device-open"])
    page.get_by_role("button", name="Set up: switch").click()
    page.get_by_role("dialog").wait_for()
    camera.take("dialog-forward", whole=False)
    page.goto(paths["keys"])
    page.get_by_role("button", name="Replace the pair").click()
    page.get_by_role("button", name="Replace and show once").click()
    page.get_by_text("Save the private key now").wait_for()
    camera.take("keys-made")


def _bulk(camera: Camera, console: Console) -> None:
    """Something was asked of many; several are marked, and something is about to be asked of them that cannot be taken back."""
    page = camera.page
    batch = commanded.ask_meters(console.house)
    page.goto(f"/projects/{batch.project_id}/commands/{batch.pk}/")
    camera.take("bulk")
    page.goto(f"/projects/{batch.project_id}/devices/")
    for number in (4, 5, 6, 7):
        page.get_by_label(f"Mark Meter {number:02}").check()
    camera.take("bulk-marked", whole=False)
    page.get_by_role("button", name="Shut down").click()
    page.get_by_role("heading", name="Shut down: 4 devices").wait_for()
    camera.take("bulk-choose")


def _first_minutes(camera: Camera, console: Console) -> None:
    """An empty project, as ``init`` makes it."""
    empty = Project.objects.create(name="Okazaki reservoir")
    Member.objects.create(project=empty, user=console.house.owner, role="owner")
    camera.page.goto(f"/projects/{empty.id}/devices/")
    camera.take("first")
    camera.page.get_by_role("link", name="Add a relay").click()
    camera.take("first-relay")


def _licence(camera: Camera, console: Console) -> None:
    """A device of a project that requires licences, which has none yet."""
    strict = Project.objects.create(name="Kanie pumps", licence_policy="required")
    Member.objects.create(project=strict, user=console.house.owner, role="owner")
    device = Device.objects.create(project=strict, name="Pump 1", state="joined", joined_at=timezone.now())
    camera.page.goto(f"/projects/{strict.id}/devices/{device.id}/")
    camera.take("device-licence")


def _settings(camera: Camera, console: Console) -> None:
    """A device whose settings were put back, what would change, and what cannot be as it was typed."""
    device, page = Device.objects.get(name="Press line 2, controller"), camera.page
    give_settings(console.house, device)
    page.goto(f"/projects/{console.house.project.id}/devices/{device.id}/settings/")
    camera.take("device-settings")
    page.get_by_label("Name in its network").fill("pump-9")
    page.get_by_label("Gateway").fill("192.168.1.1")
    page.get_by_role("button", name="Show what changes").click()
    page.get_by_role("button", name="Ask for this").wait_for()
    camera.take("device-settings-changes")
    page.get_by_role("button", name="Go on changing").click()
    page.get_by_label("Name in its network").fill("Pump 9!")
    page.get_by_label("Gateway").fill("the router")
    page.get_by_role("button", name="Show what changes").click()
    page.get_by_text("2 places cannot be as you typed them").wait_for()
    camera.take("device-settings-faults")
    page.goto(f"/projects/{console.house.project.id}/devices/{device.id}/settings/?as=json")
    camera.take("device-settings-json")
    page.get_by_label("The whole document").fill(
        '{\n  "hostname": "pump-9",\n  "network": {\n    "method" "dhcp"\n  }\n}'
    )
    page.get_by_role("button", name="Show what changes").click()
    page.get_by_text("This is not one JSON object").wait_for()
    camera.take("device-settings-json-fault")


def _paths(console: Console) -> dict[str, str]:
    """Write the story; give the pages worth a picture."""
    house = console.house
    devices = tell(house)
    commanded.tell(house, devices)
    put_back.tell(house, devices["Chlorine dosing 1"], timezone.now() - timedelta(hours=2, minutes=3))
    seal()
    base = f"/projects/{house.project.id}"
    shown = {
        "shut": "Press line 2, controller", "open": "Pump station 4, Nagoya", "opening": "Gate Kiso river",
        "failed": "Chlorine dosing 1", "added": "Spare panel", "hookless": "Reservoir Atsuta, level meter",
    }  # fmt: skip
    return {
        "projects": "/projects/", "devices": f"{base}/devices/", "devices-filtered": f"{base}/devices/?q=panel&state=open",
        **{f"device-{word}": f"{base}/devices/{devices[name].id}/" for word, name in shown.items()},
        "relays": f"{base}/relays/", "relay": f"{base}/relays/{house.relay.id}/",
        "keys": f"{base}/keys/", "history": f"{base}/history/", "history-all": f"{base}/history/?action=all",
        "history-put-back": f"{base}/history/?action=all&device={devices['Chlorine dosing 1'].id}",
        "members": f"{base}/members/", "settings": f"{base}/settings/", "tokens": "/tokens/",
        "error": f"{base}/devices/none/", "password": "/password/", "api": "/api/v1/docs",
    }  # fmt: skip


def test_open_door_when_it_is_pictured_then_its_page_and_its_history_tell_one_story(
    console: Console, visitor: Callable[..., Page]
) -> None:
    """Opened at, time left and end agree to the minute, over midnight too, and the history's ON stands at the time of the opening."""
    paths = _paths(console)
    page = visitor(console.house.owner.email, timezone_id="Asia/Tokyo")
    page.goto(paths["device-open"])
    said = page.locator("#door").inner_text()
    found = re.search(r"Open for (?:(\d+) h )?(\d+) min more, opened by \S+ at (?:\S+ )?(\d\d):(\d\d), .* at (?:\S+ )?(\d\d):(\d\d)\.", said)  # fmt: skip
    assert found is not None, said
    hours, minutes, *clock = (int(one or 0) for one in found.groups())
    opened, ends = clock[0] * 60 + clock[1], clock[2] * 60 + clock[3]
    assert (ends - opened) % 1440 == 120
    assert hours * 60 + minutes in {71, 72}
    on = page.locator("#about").get_by_role("listitem").filter(has_text="ON: Start Remote M.")
    expect(on.locator("time").first).to_contain_text(f"{clock[0]:02}:{clock[1]:02}")
    page.goto(paths["history"])
    expect(page.get_by_text("Verified without a gap since")).to_be_visible()
