"""A real Chromium before the real web process; the test moves the database as signer and worker would."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.console.conftest import FOLDER, House, make_house
from tests.parts.certificates import make_root
from tests.parts.files import scratch_folder, write_whole
from tests.parts.installed import require
from tests.parts.ports import free_port
from tests.parts.processes import PLAIN_ENVIRONMENT, Programs


@dataclass(frozen=True)
class Console:
    """The running web process."""

    url: str
    house: House


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; one for the run."""
    program = require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def web(django_db_setup: None) -> Iterator[str]:
    """The web process on the tests' own database; gives its address."""
    with scratch_folder() as scratch:
        programs = Programs(scratch)
        try:
            yield _start_web(programs, scratch)
        finally:
            programs.end_all()


def _start_web(programs: Programs, scratch: Path) -> str:
    certificate, key = make_root().server().write(scratch, "web")
    port = free_port()
    write_whole(FOLDER / "tls_certificate", certificate.read_bytes())
    lines = [f'address = "https://localhost:{port}"', f'database = "sqlite:{FOLDER}/test.sqlite3"']
    lines += [f'data_dir = "{FOLDER}"', f'run_dir = "{FOLDER}/run"', f'web_key = "{FOLDER}/web_key"']
    lines += [f'tls_certificate = "{certificate}"', f'tls_key = "{key}"']
    config = write_whole(scratch / "web.toml", "\n".join(lines) + "\n")
    program = programs.start(
        sys.executable, "-m", "uvicorn", "doorward_console.asgi:application", "--host", "127.0.0.1",
        "--port", str(port), "--ssl-certfile", certificate, "--ssl-keyfile", key, "--timeout-graceful-shutdown", "1",
        name="web", env={**PLAIN_ENVIRONMENT, "DOORWARD_CONSOLE_CONFIG": str(config)},
    )  # fmt: skip
    program.wait_for_port(port, limit_s=30)
    return f"https://localhost:{port}"


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


@pytest.fixture
def visitor(chromium: Browser, console: Console, faults: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens a browser of its own for each visitor; gives a page, signed in where a mail address is named."""
    contexts: list[BrowserContext] = []

    def visit(email: str | None = None, **options: Any) -> Page:
        context = chromium.new_context(ignore_https_errors=True, base_url=console.url, **options)
        contexts.append(context)
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
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
