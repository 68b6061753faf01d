"""The Action History: who, what, when, and how it ended."""

import pytest
from django.core.cache import cache
from django.utils import timezone
from doorward_console.history.models import Pending, Record
from doorward_console.history.queries import PAGE
from doorward_console.maintenance.models import Intent

from tests.console.conftest import House, make_house
from tests.console.visiting import address, ask, client_of, open_session


@pytest.fixture
def house(db: None) -> House:
    """A house that is gone with the test's transaction: quick, for what need not commit."""
    cache.clear()  # attempts at signing in are counted there
    return make_house()


@pytest.mark.feature("E6")
def test_history_shows_who_turned_on_and_off_when_and_how_it_ended(house: House) -> None:
    """Each ON and OFF stands there with who triggered it, from where, when it was requested, and its end."""
    client = client_of(house.owner)
    client.post(address("door-on", house), {"duration_s": "3600", "reason": "ticket 4711"}, secure=True)
    intent = Intent.objects.get()
    session = open_session(house, id=(intent.values or {})["session"])
    intent.state = "done"
    intent.save()
    client.post(address("door-off", house), secure=True)
    session.state, session.code, session.closed_at = "closed", "session.turned-off", timezone.now()
    session.save()
    text = ask(client, "GET", address("history", house)).content.decode()
    assert text.index("OFF: Stop Remote M.") < text.index("ON: Start Remote M.", text.index("OFF: Stop Remote M."))
    for said in (
        "owner-of-plant@example.com",
        "127.0.0.1",
        "ticket 4711",
        "Closed",
        "for 1 h",
        "Maintenance was turned off",
    ):
        assert said in text


@pytest.mark.feature("E6")
@pytest.mark.parametrize(
    ("query", "is_there"),
    [
        ("action=maintenance", True),
        ("action=session.on", True),
        ("action=keys.made", False),
        ("person=owner-of", True),
        ("person=somebody", False),
        ("device=d-aaaaaaaaaaaaaaaa", False),
        ("since=2020-01-01&until=2100-01-01", True),
        ("until=2020-01-01", False),
        ("since=2100-01-01", False),
        ("since=nonsense", True),
    ],
)
def test_history_with_filters_shows_what_matches(house: House, query: str, *, is_there: bool) -> None:
    """The history is narrowed by person, device, action and time in the address."""
    client = client_of(house.owner)
    client.post(address("door-on", house), {"duration_s": "3600"}, secure=True)
    text = client.get(f"{address('history', house)}?{query}", secure=True).content.decode()
    assert ("<strong>ON: Start Remote M.</strong>" in text) is is_there


def test_history_beyond_a_page_goes_on_with_older_lines(house: House) -> None:
    """Every line is on exactly one page."""

    for n in range(1, PAGE + 8):
        Record.objects.create(
            project=house.project, author=f"console:{house.project.id}", n=n, digest=f"sha256:{n:064x}",
            verb="device.changed", device=house.device.id, data={"by": "aiko@example.com", "name": f"name {n:03}"}, envelope=b"",
        )  # fmt: skip
    Pending.objects.create(
        project=house.project, verb="device.changed", data={"by": "aiko@example.com", "name": "name waiting"}
    )
    client = client_of(house.owner)
    pages = [client.get(f"{address('history', house)}?page={n}", secure=True).content.decode() for n in (1, 2)]
    expected = {f"name {n:03}" for n in range(1, PAGE + 8)} | {"name waiting"}
    shown = [{name for name in expected if name in page} for page in pages]
    assert shown[0] | shown[1] == expected
    assert shown[0] & shown[1] == set()
    assert "Older" in pages[0]
    assert "Newer" in pages[1]
