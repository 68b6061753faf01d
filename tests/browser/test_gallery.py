"""Pictures of every page, light and dark, phone and desk, to be looked at.

They go to the folder that DOORWARD_SCREENSHOTS names; a chosen few stand in docs/screenshots/.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from doorward_console.history.writing import note
from doorward_console.maintenance import asking
from playwright.sync_api import Page

from tests.browser import scenes
from tests.browser.conftest import Console

DESK, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}


def _shot(page: Page, folder: Path, name: str) -> None:
    page.wait_for_load_state("load")
    page.screenshot(path=folder / f"{name}.png", full_page=True)


@pytest.mark.real("chromium")
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("place", "size"), [("desk", DESK), ("phone", PHONE)])
def test_pages_when_looked_at_have_no_fault_in_the_console_and_do_not_scroll_sideways(
    console: Console,
    visitor: Callable[..., Page],
    faults: list[str],
    tmp_path: Path,
    theme: str,
    place: str,
    size: dict[str, int],
) -> None:
    """Every page fits its screen, and the browser has nothing to complain about: no script refused, no file missing."""
    folder = Path(os.environ.get("DOORWARD_SCREENSHOTS", tmp_path)) / f"{place}-{theme}"
    folder.mkdir(parents=True, exist_ok=True)
    house = console.house
    paths = _story(console)
    options = {"viewport": size, "color_scheme": theme, "timezone_id": "Asia/Tokyo", "locale": "en-GB"}
    stranger = visitor(**options)
    stranger.goto("/")
    _shot(stranger, folder, "sign-in")
    page = visitor(house.owner.email, **options)
    wide = []
    for name, path in paths.items():
        page.goto(path)
        if name == "api":
            page.get_by_text("see_door").or_(page.get_by_text("/api/v1/devices/{device_id}/door")).first.wait_for()
        _shot(page, folder, name)
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            wide.append(name)
    page.goto(paths["device-shut"])
    page.get_by_role("switch").click()
    page.get_by_role("dialog").wait_for()
    page.screenshot(path=folder / "dialog.png")
    page.goto(f"/projects/{house.project.id}/keys/")
    page.get_by_role("button", name="Replace the pair").click()
    page.get_by_text("Save the private key now").wait_for()
    _shot(page, folder, "keys-made")
    assert wide == []
    assert [fault for fault in faults if "404" not in fault] == []


def _story(console: Console) -> dict[str, str]:
    """Write a day at the waterworks; give the pages worth a picture."""
    house = console.house
    scenes.give_ca_keys(house)
    house.owner.name, house.owner.email = "Aiko Tanaka", "aiko@example.com"
    house.owner.save()
    scenes.person(house, "Benjamin", "admin")
    scenes.person(house, "Carla", "engineer")
    devices = scenes.fleet(house)
    house.device.delete()
    pump, press, gate, _level, dosing, spare, *_ = devices.values()
    aiko = house.owner
    note(house.project, "keys.made", data={"by": aiko.email, "from": "203.0.113.7"})
    note(house.project, "device.changed", device=pump.id, data={"by": aiko.email, "from": "203.0.113.7", "relay": "Relay Tokyo", "port": 22004, "bind": "*"})  # fmt: skip
    for device, minutes, reason in ((press, 900, "ticket 4702"), (pump, 48, "ticket 4711, pressure sensor")):
        intent = asking.turn_on(device, aiko, "203.0.113.7", 7200, reason)
        session = scenes.begin(device)
        for name in ("relay-granted", "ordered", "device-accepted", "door-opened", "tunnel-up", "answered"):
            scenes.step(session, name)
        session.requested_at = timezone.now() - timedelta(minutes=minutes)
        session.opened_at = session.requested_at + timedelta(seconds=1)
        session.ends_at = session.requested_at + timedelta(seconds=7200)
        session.save()
        if device is press:
            asking.turn_off(device, aiko, "203.0.113.7")
            scenes.close(session)
        assert intent
    asking.turn_on(gate, aiko, "203.0.113.7", 3600, "")
    opening = scenes.begin(gate)
    for name in ("relay-granted", "ordered", "device-accepted"):
        scenes.step(opening, name)
    scenes.step(opening, "tunnel-up", "tunnel.unreachable")
    asking.turn_on(dosing, aiko, "203.0.113.7", 3600, "calibration")
    failed = scenes.begin(dosing)
    scenes.step(failed, "relay-granted")
    scenes.step(failed, "door-opened", "door.user-locked")
    scenes.fail(failed, "door.user-locked")
    base = f"/projects/{house.project.id}"
    return {
        "projects": "/projects/", "devices": f"{base}/devices/", "devices-filtered": f"{base}/devices/?q=panel&state=open",
        "device-shut": f"{base}/devices/{press.id}/", "device-open": f"{base}/devices/{pump.id}/",
        "device-opening": f"{base}/devices/{gate.id}/", "device-failed": f"{base}/devices/{dosing.id}/",
        "device-added": f"{base}/devices/{spare.id}/", "relays": f"{base}/relays/", "relay": f"{base}/relays/{house.relay.id}/",
        "keys": f"{base}/keys/", "history": f"{base}/history/", "history-all": f"{base}/history/?action=all",
        "members": f"{base}/members/", "settings": f"{base}/settings/", "tokens": "/tokens/",
        "error": f"{base}/devices/none/", "password": "/password/", "api": "/api/v1/docs",
    }  # fmt: skip
