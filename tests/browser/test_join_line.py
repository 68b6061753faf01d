"""The line with which a device joins, on a page that follows what happens."""

from collections.abc import Callable

import pytest
from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device
from playwright.sync_api import Page, expect

from tests.browser.conftest import Console
from tests.console.conftest import FOLDER
from tests.parts.certificates import make_root
from tests.parts.files import write_whole


@pytest.mark.real("chromium")
@pytest.mark.timeout(120)
def test_join_line_stays_while_the_page_lives_on_and_goes_when_the_device_has_joined(
    console: Console, visitor: Callable[..., Page]
) -> None:
    """A line that is shown once is not taken from under somebody's eyes by what happens elsewhere."""
    Device.objects.update(state="added", joined_at=None)
    write_whole(FOLDER / "tls_certificate", make_root().server().chain_pem)
    page = visitor(console.house.owner.email)
    page.goto(f"/projects/{console.house.project.id}/devices/{console.house.device.id}/")
    page.get_by_role("button", name="Make the join line").click()
    line = page.get_by_label("join line", exact=True)
    said = line.inner_text()
    Device.objects.update(agent_version="0.2.0")
    ring("web")
    expect(page.get_by_text("0.2.0")).to_be_visible()
    expect(line).to_have_text(said)
    Device.objects.update(state="joined", presence="connected")
    ring("web")
    expect(page.get_by_text("Connected")).to_be_visible()
    expect(line).to_have_count(0)
