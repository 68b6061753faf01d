"""A licence as the owner brings it: a file on the device's page, and with it the switch can be pressed."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from doorward_console.fleet.licences import Licence, seal_licence
from doorward_protocol.reasons import REASONS
from doorward_protocol.signature import SigningKey
from playwright.sync_api import Page, expect

from tests.browser.conftest import Console
from tests.console.web_process import ISSUER


def _upload(page: Page, issuer: SigningKey, device: str) -> None:
    """Choose a file that ``issuer`` signed, and add it."""
    raw = seal_licence(issuer, Licence(device, timezone.now() + timedelta(days=365)))
    file = {"name": f"{device}.licence", "mimeType": "application/octet-stream", "buffer": raw}
    page.get_by_label("Licence file").set_input_files(file)  # type: ignore[arg-type]  # a TypedDict that is not exported
    page.get_by_role("button", name="Add licence").click()


@pytest.mark.real("chromium")
@pytest.mark.feature("E7")
def test_owner_uploads_a_licence_then_nothing_is_missing_and_the_switch_can_be_pressed(
    console: Console, visitor: Callable[..., Page], faults: list[str]
) -> None:
    """Without one the switch says what is missing; somebody else's file comes back with its sentence; the right one does."""
    house = console.house
    house.project.licence_policy = "required"
    house.project.save()
    page = visitor(house.owner.email)
    page.goto(f"/projects/{house.project.id}/devices/{house.device.id}/")
    switch, missing = page.get_by_role("switch"), page.locator("#blocker")
    expect(missing).to_contain_text(REASONS["licence.missing"].meaning)
    expect(switch).to_have_attribute("aria-disabled", "true")
    _upload(page, SigningKey.generate(), house.device.id)
    expect(page.get_by_role("alert")).to_contain_text(REASONS["licence.unknown-issuer"].meaning)
    expect(switch).to_have_attribute("aria-disabled", "true")
    faults.clear()  # the browser notes the answer 400
    _upload(page, ISSUER, house.device.id)
    expect(page.get_by_text("The licence was added.")).to_be_visible()
    expect(page.locator("#licence")).to_contain_text("Valid until")
    expect(missing).to_have_count(0)
    switch.click()
    expect(page.get_by_role("dialog").get_by_role("button", name="Turn on")).to_be_visible()
    assert faults == []
