"""A real Chromium before the real web process; the test moves the database as signer and worker would."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.console.conftest import House, make_house
from tests.console.web_process import start_web
from tests.parts.files import scratch_folder
from tests.parts.installed import require
from tests.parts.processes import Programs


@dataclass(frozen=True)
class Console:
    """The running web process."""

    url: str
    house: House


expect.set_options(timeout=12_000)
"""Long enough for a busy machine, and shorter than the stream's fallback look (15 s), which would hide a lost ring."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window to draw; ended with the module, for Playwright's event loop would stay in the way of other tests."""
    program = require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def web(django_db_setup: None) -> Iterator[str]:
    """The web process on the tests' own database; gives its address."""
    with scratch_folder() as scratch:
        programs = Programs(scratch)
        try:
            yield start_web(programs, scratch).url
        finally:
            programs.end_all()


@pytest.fixture
def console(web: str, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Console:
    """The web process with one house in its database."""
    # Playwright's sync interface runs an event loop in this thread; the test's own looks into the database are not async.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    from tests.browser.scenes import give_password  # models can be imported once Django is set up, which conftest does

    house = make_house()
    house.project.name = "Nagoya waterworks"
    house.project.save()
    give_password(house.owner)
    return Console(web, house)


@pytest.fixture
def faults() -> list[str]:
    """What any visitor's browser complained about."""
    return []


def is_given_up(said: str) -> bool:
    """Tell whether htmx only says that a newer request took the place of one (``hx-sync``); one that failed says ``sendError``, too."""
    return said.startswith(("htmx:sendAbort", "htmx:afterRequest"))


@pytest.fixture
def visitor(chromium: Browser, console: Console, faults: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens a browser of its own for each visitor; gives a page, signed in where a mail address is named."""
    contexts: list[BrowserContext] = []

    def visit(email: str | None = None, **options: Any) -> Page:
        options.setdefault("base_url", console.url)
        context = chromium.new_context(ignore_https_errors=True, **options)
        contexts.append(context)
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on(
            "console",
            lambda said: faults.append(said.text) if said.type == "error" and not is_given_up(said.text) else None,
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        if email:
            sign_in(page, email)
        return page

    yield visit
    for context in contexts:
        context.close()


def sign_in(page: Page, email: str) -> None:
    """Sign in as a person does."""
    from tests.browser.scenes import PASSWORD

    page.goto("/")
    page.get_by_label("Mail address").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("navigation").wait_for()
