"""The addresses by which load balancers and people with curl ask how the console is."""

import json
import ssl
from importlib.metadata import version
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from django.core.cache import cache
from django.test import Client

from tests.console.web_process import start_web
from tests.parts.ports import free_port
from tests.parts.processes import Programs


@pytest.mark.feature("T14")
def test_version_when_asked_by_a_stranger_then_it_is_the_installed_one(db: None) -> None:
    """Nobody has to sign in to learn which version answers, and it is the distribution's own."""
    cache.clear()
    answer = Client().get("/version", secure=True)
    assert answer.json() == {"version": version("doorward"), "protocol": [1]}
    assert "no-store" in answer["Cache-Control"]
    assert answer.cookies == {}


def test_addresses_when_written_to_then_refused(db: None) -> None:
    """They are for looking alone."""
    assert [Client().post(f"/{name}", secure=True).status_code for name in ("healthz", "readyz", "version")] == [
        405
    ] * 3


def read(url: str, **headers: str) -> tuple[int, bytes]:
    """Ask as ``curl -k`` does: over TLS, with no cookie and no sign-in but those given."""
    trusting = ssl._create_unverified_context()  # the test's own certificate
    try:
        with urlopen(Request(url, headers=headers), context=trusting, timeout=20) as answer:
            return answer.status, answer.read()
    except HTTPError as refused:
        return refused.code, refused.read()


@pytest.mark.feature("P12")
@pytest.mark.feature("T14")
def test_console_when_asked_with_a_plain_client_then_version_and_health_are_one_line(
    transactional_db: None, programs: Programs, scratch: Path
) -> None:
    """The real process answers, also with a database that cannot be asked: then it is healthy and not ready."""
    web = start_web(programs, scratch)
    assert read(f"{web.url}/healthz") == (200, b'{"ok": true}')
    assert read(f"{web.url}/readyz") == (200, b'{"ok": true, "database": true}')
    assert read(f"{web.url}/version")[1].startswith(b'{"version": "')
    web.stop()
    web.database = f"sqlite:{scratch}/none/console.sqlite3"
    web.start()
    assert read(f"{web.url}/healthz") == (200, b'{"ok": true}')
    assert read(f"{web.url}/readyz") == (503, b'{"ok": false, "database": false}')


def test_console_when_postgresql_is_away_then_people_and_programs_are_told_within_seconds(
    programs: Programs, scratch: Path
) -> None:
    """Whose fault it is, on a page that needs no database itself; and not after the half minute that a pool waits by itself."""
    web = start_web(programs, scratch, f"postgresql://postgres@127.0.0.1:{free_port()}/doorward")
    status, said = read(f"{web.url}/api/v1/projects", Authorization="Bearer doorward-token-any")
    assert (status, json.loads(said)["code"]) == (503, "console.no-database")
    status, page = read(f"{web.url}/projects/", Cookie="sessionid=somebody", Accept="text/html")
    assert status == 503
    assert b"database does not work" in page
    assert b"doorward-console check" in page
