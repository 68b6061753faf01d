"""The one way as a person goes it: a real browser, and behind it every real part on loopback."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.house.house import OWNER, PASSWORD, Device, House
from tests.parts.files import scratch_folder, write_whole
from tests.parts.processes import Programs
from tests.parts.waiting import wait_until

pytestmark = [
    pytest.mark.real("chromium", "root", "mosquitto", "sshd", "ssh", "sudo", "cgroup"),
    pytest.mark.timeout(360),
]

READ = """\
#!/bin/sh
values=$(cat /var/lib/site.json 2>/dev/null || echo '{"hostname": "pump-7"}')
cat <<END
{"values": $values, "schema": {"type": "object", "additionalProperties": false, "required": ["hostname"], "properties": {
 "hostname": {"type": "string", "title": "Name in its network", "pattern": "^[a-z0-9-]+$"},
 "radio": {"type": "object", "title": "Radio", "properties": {"key": {"type": "string", "title": "Key", "writeOnly": true, "minLength": 8}}}
}}}
END
"""
APPLY = """\
#!/bin/sh
# Keeps what was there, and puts the values into one file, whole and renamed.
set -eu
cp /var/lib/site.json "$DOORWARD_STATE/before" 2>/dev/null || echo '{"hostname": "pump-7"}' > "$DOORWARD_STATE/before"
"$DOORWARD_PYTHON" -ISc 'import json, sys; print(json.dumps(json.load(sys.stdin)["arguments"]["values"]))' > /var/lib/site.json.new
mv /var/lib/site.json.new /var/lib/site.json
"""
REVERT = """\
#!/bin/sh
cp "$DOORWARD_STATE/before" /var/lib/site.json
"""
HOOKS = {"settings-read": READ, "settings-apply": APPLY, "settings-revert": REVERT}
PLAIN = "eleven blue herons"
OPENS_WITHIN_MS = 30_000
"""On a busy machine; alone it takes well under a second."""


@pytest.fixture
def house() -> Iterator[House]:
    """A whole house without a network of its own."""
    with scratch_folder() as folder:
        house = House(folder, Programs(folder))
        try:
            house.build()
            house.make_keys()
            yield house
        finally:
            house.close()


@pytest.fixture
def visit(chromium: Browser, house: House) -> Iterator[Callable[..., Page]]:
    """Opens a browser of its own, signed in, at the device's page."""
    contexts: list[Any] = []

    def go() -> Page:
        context = chromium.new_context(ignore_https_errors=True, base_url=house.console.address)
        contexts.append(context)
        page = context.new_page()
        page.goto("/")
        page.get_by_label("Mail address").fill(OWNER)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name=house.device.name).click()
        page.get_by_role("switch").wait_for()
        return page

    yield go
    for context in contexts:
        context.close()


@pytest.mark.feature("E3", "E4", "E6")
def test_toggle_in_a_browser_then_an_engineer_logs_in_and_a_second_browser_sees_all_of_it(
    house: House, visit: Callable[..., Page]
) -> None:
    """Green comes by itself in two browsers; while it shows, the plain client logs in; shut, nothing listens."""
    first, second = visit(), visit()
    first.get_by_role("switch").click()
    first.get_by_role("textbox", name="Reason").fill("ticket 4711")
    first.get_by_role("button", name="Turn on").click()
    for page in (first, second):
        expect(page.get_by_role("heading", name="Open", exact=True)).to_be_visible(timeout=OPENS_WITHIN_MS)
        expect(page.get_by_role("switch")).to_have_attribute("aria-checked", "true")
    assert f"-p {house.ports.door}" in second.get_by_label("ssh line", exact=True).inner_text()
    status, said = house.log_in(house.device, "id -un")
    assert (status, said.strip()) == (0, "remote-admin")
    second.get_by_role("button", name="Shut now").click()
    for page in (first, second):
        expect(page.get_by_role("heading", name="Shut")).to_be_visible(timeout=OPENS_WITHIN_MS)
    assert not house.listens(house.ports.door)
    first.get_by_role("link", name="Action History").click()
    on = first.get_by_role("listitem").filter(has_text="ON: Start Remote M.")
    expect(on).to_contain_text("ticket 4711")
    expect(on).to_contain_text("Closed")
    expect(first.get_by_text("Verified without a gap since")).to_be_visible()


@pytest.fixture
def settable(house: House) -> Device:
    """The house's device with hooks for its settings, after a boot in which the console has read them by itself."""
    device = house.device
    folder = device.machine.folder / "etc/doorward/hooks"
    folder.mkdir(exist_ok=True)
    for name, text in HOOKS.items():
        write_whole(folder / name, text, 0o755)
    device.machine.cut_power()
    device.boot()
    wait_until(lambda: house.console.get(f"/devices/{device.id}/settings")["read"], 60, "the settings to be read")
    return device


@pytest.mark.feature("I10", "I15", "B7")
@pytest.mark.threat("secret-kept")
def test_settings_in_a_browser_then_tried_confirmed_and_reported_back_and_the_secret_is_on_the_device_alone(
    house: House, settable: Device, visit: Callable[..., Page]
) -> None:
    """Form, differences, trial, rehearsal, confirmation, read again: all of it by itself, and the history says who and where."""
    page = visit()
    page.get_by_role("link", name="See and change").click()
    expect(page.get_by_label("Name in its network")).to_have_value("pump-7")
    page.get_by_label("Name in its network").fill("pump-8")
    page.get_by_label("Key").fill(PLAIN)
    page.get_by_role("button", name="Show what changes").click()
    expect(page.get_by_role("row", name="/hostname pump-7 pump-8")).to_be_visible()
    expect(page.get_by_role("row", name="/radio/key not set a new secret")).to_be_visible()
    page.get_by_role("button", name="Ask for this").click()
    expect(page.locator("#settings-state")).to_have_text("In force", timeout=90_000)
    for name in ("/hostname pump-8 the same", "/radio/key a secret the same"):
        expect(page.get_by_role("row", name=name)).to_be_visible(timeout=60_000)
    kept = settable.machine.folder / "var/lib/site.json"
    assert json.loads(kept.read_text()) == {"hostname": "pump-8", "radio": {"key": PLAIN}}
    house.console.wait_for_history(("settings.asked", "settings.confirmed", "settings.applied"), settable.id)
    page.goto(page.url.partition("/devices/")[0] + "/history/?action=all")
    asked = page.get_by_role("listitem").filter(has_text="Settings were asked for")
    expect(asked).to_contain_text("/hostname, /radio/key")
    expect(asked).to_contain_text(OWNER)
    assert kept.exists()
    places = [path for path in house.folder.rglob("*") if path.name != kept.name]
    assert [str(path) for path in places if holds(path, PLAIN.encode())] == []


def holds(path: Path, secret: bytes) -> bool:
    """Tell whether a file has the secret in it; one that is gone by now, or is no plain file, has not."""
    with suppress(OSError):
        return path.is_file() and not path.is_symlink() and secret in path.read_bytes()
    return False
