"""The first minutes as a person has them: from ``doorward-console init`` to green in a real browser, by the page's own list.

Everything behind the browser is real, and each command that the pages show is run on the machine that it is for.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from doorward_relay.edges.store import Store
from doorward_relay.pairing import OFFER_MS
from playwright.sync_api import Browser, Locator, Page, expect

from tests.house.house import OWNER, Device, House
from tests.house.machine import PROGRAMS
from tests.parts.files import scratch_folder, write_whole
from tests.parts.processes import Programs

pytestmark = [
    pytest.mark.real("chromium", "root", "mosquitto", "sshd", "ssh", "sudo", "cgroup"),
    pytest.mark.timeout(240),
]

IN_TIME_MS = 30_000
"""On a busy machine; alone each takes well under a second."""


@pytest.fixture
def house() -> Iterator[House]:
    """Machines for console, relay and device; nothing is set up yet."""
    with scratch_folder() as folder:
        house = House(folder, Programs(folder))
        try:
            yield house
        finally:
            print(house.logs())  # pytest shows it for a test that failed
            house.close()


@pytest.fixture
def owner(chromium: Browser, house: House) -> Iterator[Page]:
    """The owner's browser, signed in with what ``init`` printed."""
    said = house.build_console()
    password = re.search(r"Password, shown once: (\S+)", said)
    assert password is not None, said
    context = chromium.new_context(ignore_https_errors=True, base_url=f"https://127.0.0.1:{house.ports.web}")
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Mail address").fill(OWNER)
    page.get_by_label("Password").fill(password[1])
    page.get_by_role("button", name="Sign in").click()
    yield page
    context.close()


def step(page: Page, name: str) -> Locator:
    """Find a step of the list by its title."""
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name))


def copied(page: Page, label: str) -> str:
    """Read what the Copy button beside a line copies."""
    text = page.get_by_label(label, exact=True).text_content()
    assert text is not None
    return text


def pair(page: Page, line: str, name: str = "Basement") -> None:
    """Paste a line as the relay printed it."""
    page.locator("#pair").get_by_label("Name in this project").fill(name)
    page.get_by_label("The line from the relay").fill(line)
    page.get_by_role("button", name="Pair", exact=True).click()


def make_keys(page: Page, folder: Path) -> Path:
    """Make the pair and save the private key, as the page says; gives the file."""
    expect(page.get_by_text("The private key is shown once, on the next page")).to_be_visible()
    page.get_by_role("button", name="Make the pair").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the private key").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    path.chmod(0o600)
    page.get_by_role("link", name="I have saved it").click()
    return path


def add_device(page: Page, name: str) -> None:
    """Add a device from the list, and save the way in that is suggested for it."""
    page.get_by_role("link", name="Devices").first.click()
    step(page, "Add a device").get_by_role("button", name="Add a device").click()
    page.get_by_role("dialog").get_by_label("Name").fill(name)
    page.get_by_role("dialog").get_by_role("button", name="Add").click()
    expect(page.get_by_text("a suggestion, until you save it")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The way in was saved.")).to_be_visible()


def join(page: Page, device: Device) -> None:
    """Carry the line over, and see the page follow by itself."""
    page.get_by_role("button", name="Make the join line").click()
    line = copied(page, "join line")
    program, *arguments = shlex.split(page.locator("#join-line code").first.inner_text())
    assert arguments == ["join"], "a secret in an argument list"
    device.machine.must(PROGRAMS / program, *arguments, stdin=f"{line}\n".encode())
    device.start_agent()
    expect(page.get_by_text("Connected")).to_be_visible(timeout=IN_TIME_MS)
    expect(page.get_by_role("heading", name="Join", exact=True)).to_have_count(0)


def log_in(house: House, page: Page, key: Path, command: str) -> tuple[int, str]:
    """Type the page's ssh line beside the key, with the known_hosts line where ssh looks for it."""
    known = write_whole(key.parent / "known_hosts", copied(page, "known_hosts line") + "\n")
    program, *line = shlex.split(copied(page, "ssh line"))
    own = ["-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-F", "none"]
    line[line.index("-i") + 1] = str(key.parent / line[line.index("-i") + 1])
    return house.engineer([f"/usr/bin/{program}", *own, *line, command])


def make_older(house: House, by_ms: int) -> None:
    """Let an hour go by for the line that the relay printed."""
    store = Store(house.relay_machine.folder / "var/lib/doorward-relay/relay.db")
    offer = store.offer()
    assert offer is not None
    store.keep_offer(replace(offer, made_at=offer.made_at - by_ms))
    store.close()


def pair_again(house: House) -> str:
    """Do on the relay what the sentence says; gives the new line."""
    said = house.relay_machine.must(PROGRAMS / "doorward-relay", "install", "--pair-again", "--yes")
    return said.splitlines()[-1]


@pytest.mark.feature("E1", "E3", "E4", "E6")
def test_owner_when_following_the_list_from_an_empty_project_then_the_first_door_opens(
    house: House, owner: Page, tmp_path: Path
) -> None:
    """Relay, keys, device, toggle: each next step is one click away, and with green the list is gone."""
    expect(owner.get_by_role("heading", name="The first open door")).to_be_visible()
    step(owner, "Add a relay").get_by_role("link", name="Add a relay").click()
    assert copied(owner, "command for a managed relay").startswith("doorward-relay install --host ")
    pair(owner, f"  {house.build_relay()}\n")
    expect(owner.get_by_text("Basement is paired.")).to_be_visible()
    owner.get_by_role("link", name="Make the key pair").click()
    key = make_keys(owner, tmp_path)
    device = house.build_device("pump-7")
    add_device(owner, "pump-7")
    expect(owner.get_by_role("switch")).to_have_attribute("aria-disabled", "true")
    join(owner, device)
    expect(owner.get_by_role("link", name="To the switch")).to_be_visible()
    facts = owner.get_by_role("definition")
    expect(facts.filter(has_text=re.compile(r"^\d+\.\d+\.\d+$"))).to_be_visible()
    owner.get_by_role("switch").click()
    owner.get_by_role("button", name="Turn on").click()
    expect(owner.get_by_role("heading", name="Open", exact=True)).to_be_visible(timeout=IN_TIME_MS)
    expect(owner.get_by_text("The first open door")).to_have_count(0)
    assert log_in(house, owner, key, "id -un") == (0, "remote-admin\n")
    owner.get_by_role("button", name="Shut now").click()
    expect(owner.get_by_role("heading", name="Shut")).to_be_visible(timeout=IN_TIME_MS)
    assert not house.listens(house.ports.door)
    owner.get_by_role("link", name="Action History").click()
    expect(owner.get_by_role("listitem").filter(has_text="ON: Start Remote M.")).to_contain_text(OWNER)


def test_owner_when_lines_are_wrong_or_used_or_expired_then_a_sentence_says_what_to_do(
    house: House, owner: Page
) -> None:
    """What is pasted wrong is still there, with why it does not do and the next step beside it."""
    owner.get_by_role("link", name="Add a relay").click()
    said = owner.get_by_role("alert")
    pair(owner, "doorward-join-1 https://console.example.com AAAA sha256:00")
    expect(said).to_contain_text("begins with doorward-relay-1")
    expect(said).to_contain_text("Copy the whole line from the relay")
    line = house.build_relay()
    pair(owner, " ".join(line.split()[:-1]))
    expect(said).to_contain_text("has seven parts")
    expect(owner.locator("#pair").get_by_label("Name in this project")).to_have_value("Basement")
    token = line.split()[4]
    pair(owner, line.replace(token, "a" * len(token)))
    expect(said).to_contain_text("is wrong, was used, or is older than an hour")
    make_older(house, OFFER_MS)
    pair(owner, line)
    expect(said).to_contain_text("is older than an hour")
    expect(said).to_contain_text("doorward-relay install --pair-again")
    line = pair_again(house)
    pair(owner, line)
    expect(owner.get_by_text("Basement is paired.")).to_be_visible()
    owner.get_by_role("link", name="Relays").first.click()
    pair(owner, line, "Basement again")
    expect(said).to_contain_text("This relay is Basement, which is paired with this project already")


def test_owner_when_a_port_is_taken_or_the_device_has_not_joined_then_the_page_says_so(
    house: House, owner: Page, tmp_path: Path
) -> None:
    """A device's port is nobody else's, and the switch of a device that never came says what it waits for."""
    owner.get_by_role("link", name="Add a relay").click()
    pair(owner, house.build_relay())
    owner.get_by_role("link", name="Make the key pair").click()
    make_keys(owner, tmp_path)
    add_device(owner, "pump-7")
    expect(owner.locator("#blocker")).to_contain_text("The device has not joined yet")
    owner.get_by_role("switch").click(force=True)
    expect(owner.get_by_role("dialog")).to_have_count(0)
    owner.get_by_role("link", name="Devices").first.click()
    owner.get_by_role("button", name="Add a device").first.click()
    owner.get_by_role("dialog").get_by_label("Name").fill("pump-8")
    owner.get_by_role("dialog").get_by_role("button", name="Add").click()
    expect(owner.get_by_label("Port on the relay")).to_have_value(str(house.ports.other_door))
    owner.get_by_label("Port on the relay").fill(str(house.ports.door))
    owner.get_by_role("button", name="Save").click()
    expect(owner.get_by_role("alert")).to_contain_text("belongs to the device pump-7 already")
    expect(owner.get_by_role("alert")).to_contain_text("Choose another port")
