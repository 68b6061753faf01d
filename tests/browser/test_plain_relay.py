"""A plain relay as its owner adds it: one form, a page that says what to do there, and a port for a device."""

from collections.abc import Callable

import pytest
from doorward_console.fleet.models import Relay
from playwright.sync_api import Page, expect

from tests.browser.conftest import Console
from tests.console.conftest import ED25519_LINE

pytestmark = pytest.mark.real("chromium")


@pytest.mark.feature("E2")
def test_owner_adds_a_plain_relay_and_reads_what_to_do_and_what_it_cannot_do(
    console: Console, visitor: Callable[..., Page], faults: list[str]
) -> None:
    """A wrong key comes back with its sentence and what was typed; the right one leads to the relay's page."""
    page = visitor(console.house.owner.email)
    page.get_by_role("link", name="Relays").click()
    form = page.locator("#plain")
    form.get_by_label("Name in this project").fill("Customer")
    form.get_by_label("Address").fill("relay.example.org")
    form.get_by_label("User on the relay").fill("gateway")
    form.get_by_label("Its host key").fill("SHA256:what-ssh-keygen-prints")
    form.get_by_role("button", name="Add").click()
    expect(form.get_by_role("alert")).to_contain_text("cat /etc/ssh/ssh_host_ed25519_key.pub")
    expect(form.get_by_label("Address")).to_have_value("relay.example.org")
    faults.clear()  # the browser notes the answer 400
    form.get_by_label("Its host key").fill(f"relay.example.org {ED25519_LINE}")
    form.get_by_role("button", name="Add").click()
    expect(page.get_by_role("heading", name="Customer", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="What a plain relay cannot do")).to_be_visible()
    command = page.get_by_label("command for the relay", exact=True)
    expect(command).to_contain_text(f"cat relay-server-{console.house.project.id}.key >> ~/.ssh/authorized_keys")
    assert Relay.objects.get(name="Customer").ssh_host_keys == [ED25519_LINE]
    assert faults == []


@pytest.mark.feature("E2", "E3")
def test_device_gets_a_port_there_and_the_pages_say_that_the_line_lacks_it(
    console: Console, visitor: Callable[..., Page], faults: list[str]
) -> None:
    """What has to be done at the relay is said where the owner looks: on the relay's page and on Keys."""
    house = console.house
    relay = Relay.objects.create(
        project=house.project, name="Customer", kind="plain", host="relay.example.org", tunnel_user="gateway",
        ssh_host_keys=[ED25519_LINE],
    )  # fmt: skip
    page = visitor(house.owner.email)
    page.goto(f"/projects/{house.project.id}/devices/{house.device.id}/")
    way = page.locator("#way")
    way.get_by_role("combobox", name="Relay").select_option(relay.id)
    way.get_by_label("Port on the relay").fill("22050")
    way.get_by_role("button", name="Save").click()
    page.get_by_role("link", name="Keys").click()
    expect(page.get_by_role("status").filter(has_text="Customer")).to_contain_text("port 22050 of press 1")
    page.get_by_role("link", name="Relays").click()
    page.get_by_role("link", name="Customer").click()
    expect(page.locator("#set-up").get_by_role("status")).to_contain_text("port 22050 of press 1")
    assert faults == []
