"""The live stream with a real web process: what it says, whom it lets go, and what it holds while it waits."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from django.db import connection
from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Device
from doorward_console.maintenance import asking
from doorward_console.people.models import Member

from tests.console.conftest import House, make_house
from tests.console.web_process import Web, browser_of, start_web
from tests.parts.processes import Programs
from tests.parts.waiting import wait_until

STREAMS = 12
"""Three times the connections that the pool lends out: one for each stream would be too many."""


@pytest.fixture
def web(programs: Programs, scratch: Any, transactional_db: None) -> Web:
    """A web process on the tests' SQLite file."""
    return start_web(programs, scratch)


class Listener:
    """One browser's stream."""

    def __init__(self, client: httpx.Client, url: str) -> None:
        self._stream = client.stream("GET", url)
        self.answer = self._stream.__enter__()
        self._chunks = self.answer.iter_text()
        self.said = ""

    def read(self) -> bool:
        """Read one more piece; tells whether there was one."""
        piece = next(self._chunks, None)
        self.said += piece or ""
        return piece is not None

    def wait_for_news(self, times: int) -> None:
        """Read on until so much news has come."""
        while self.said.count("event: news") < times:
            assert self.read(), f"the stream ended: {self.said}"

    def close(self) -> None:
        self._stream.__exit__(None, None, None)


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    """Opens streams as a signed-in person; all are closed after the test."""
    opened: list[Any] = []

    def open_one(web: Web, house: House, query: str = "", user: Any = None) -> Listener:
        client = browser_of(web, user or house.owner)
        opened.append(client)
        listener = Listener(client, f"/projects/{house.project.id}/events/{query}")
        opened.insert(0, listener)
        return listener

    yield open_one
    for one in opened:
        one.close()


def rename(device: Device, name: str) -> None:
    """Change something that pages show, and ring."""
    Device.objects.filter(pk=device.pk).update(name=name)
    ring("web")


def test_stream_says_news_at_a_ring_and_only_when_something_changed(web: Web, listen: Callable[..., Listener]) -> None:
    """A page hears of a change at once, and of a ring without a change nothing."""
    house = make_house()
    listener = listen(web, house, f"?device={house.device.id}")
    listener.wait_for_news(1)
    rename(house.device, "press 9")
    listener.wait_for_news(2)
    ring("web")
    listener.read()
    assert listener.said.count("event: news") == 2
    assert listener.answer.headers["Cache-Control"] == "no-store"


def test_stream_of_a_page_that_is_up_to_date_begins_in_silence(web: Web, listen: Callable[..., Listener]) -> None:
    """A page that shows what is does not ask for its parts again when its stream begins."""
    house = make_house()
    first = listen(web, house)
    first.wait_for_news(1)
    known = first.said.split("data: ")[1].split()[0]
    second = listen(web, house, f"?known={known}")
    while ": still here" not in second.said:
        assert second.read()
    assert "event: news" not in second.said


def test_stream_of_somebody_who_is_no_member_any_more_ends(web: Web, listen: Callable[..., Listener]) -> None:
    """Membership is asked again at each wake."""
    house = make_house()
    listener = listen(web, house)
    listener.wait_for_news(1)
    Member.objects.filter(project=house.project).delete()
    rename(house.device, "press 9")
    while listener.read():
        pass
    assert "event: gone" in listener.said
    assert listener.said.count("event: news") == 1


@pytest.mark.threat("other-project")
def test_stream_for_strangers_is_refused(web: Web, listen: Callable[..., Listener]) -> None:
    """Nobody listens to a project that is not theirs, or without being signed in."""
    house, other = make_house(), make_house("elsewhere")
    assert listen(web, house, user=other.owner).answer.status_code == 404
    with browser_of(web, house.owner) as client:
        client.cookies.clear()
        assert client.get(f"/projects/{house.project.id}/events/").status_code == 401


def test_long_poll_answers_when_the_door_changes(web: Web) -> None:
    """A program that waits is answered at the change, and not before."""
    house = make_house()
    with browser_of(web, house.owner) as client:
        url = f"/api/v1/devices/{house.device.id}/door"
        assert client.get(url, params={"wait": 1, "state": "opening"}).json()["state"] == "shut"
        assert client.get(url, params={"wait": 0}).json()["state"] == "shut"
        asking.turn_on(house.device, house.owner, "", 900)
        assert client.get(url, params={"wait": 20, "state": "shut"}).json()["state"] == "opening"


@pytest.mark.real("postgres")
def test_streams_on_postgresql_hold_no_connection_while_they_wait(
    on_postgres: str, programs: Programs, scratch: Any, listen: Callable[..., Listener]
) -> None:
    """However many pages are open, the database's few connections stay free for those who do something."""
    port = parse_qs(urlsplit(on_postgres).query)["port"][0]
    house = make_house()
    web = start_web(programs, scratch, f"postgresql://postgres@127.0.0.1:{port}/doorward")
    listeners = [listen(web, house, f"?device={house.device.id}") for _ in range(STREAMS)]
    for one in listeners:
        one.wait_for_news(1)
    with browser_of(web, house.owner) as client:
        assert client.get("/projects/").status_code == 200
    wait_until(lambda: connections_in_use() <= 1, what="connections to come back")
    rename(house.device, "press 9")
    for one in listeners:
        one.wait_for_news(2)


def connections_in_use() -> int:
    """Count the connections to this database that are within a transaction or run a statement, but for this one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state <> 'idle' AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])
