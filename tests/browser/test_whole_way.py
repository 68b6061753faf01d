"""The one way as a person goes it: a real browser, and behind it every real part on loopback."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.house.house import OWNER, PASSWORD, House
from tests.parts.files import scratch_folder
from tests.parts.processes import Programs

pytestmark = [
    pytest.mark.real("chromium", "root", "mosquitto", "sshd", "ssh", "sudo", "cgroup"),
    pytest.mark.timeout(180),
]

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
