"""The key pair: made by the owner, shown once, and nowhere afterwards."""

import pytest
from django.core.cache import cache
from doorward_console.history.models import Pending
from doorward_console.keys.models import Key

from tests.console.conftest import ED25519_LINE, FOLDER, House, make_house
from tests.console.visiting import address, ask, client_of, dump_of_database
from tests.parts.key_copies import copies_in, forms_of


@pytest.fixture
def house(db: None) -> House:
    """A house that is gone with the test's transaction: quick, for what need not commit."""
    cache.clear()  # attempts at signing in are counted there
    return make_house()


@pytest.fixture
def committed(transactional_db: None) -> House:
    """A house that is really in the database's file."""
    cache.clear()
    return make_house()


@pytest.mark.feature("E1")
@pytest.mark.threat("private-key-kept")
def test_private_key_after_it_was_shown_is_nowhere(
    committed: House, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The engineers' private key is in the one answer and in no table, log, cache, message or later page."""
    house = committed
    Key.objects.create(project=house.project, kind="tunnel-ca", holder="signer", public=ED25519_LINE, wrapped=b"x")
    client = client_of(house.owner)
    answer = ask(client, "POST", address("keys", house), ports="22001-22003")
    text = answer.content.decode()
    begin, end = "-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----\n"
    forms = forms_of((begin + text.split(begin)[1].split(end)[0] + end).encode())
    assert "no-store" in answer["Cache-Control"]
    later = [ask(client, "GET", address(name, house)).content.decode() for name in ("keys", "history", "device")]
    logged = caplog.text + "".join(capfd.readouterr())
    for place in (*later, dump_of_database(), logged):
        assert copies_in(place, forms) == []
    for path in FOLDER.rglob("*"):
        assert not path.is_file() or copies_in(path.read_bytes(), forms) == []
    assert "permitlisten=&quot;22003&quot;" in text


@pytest.mark.feature("E1")
def test_pair_when_made_again_takes_the_place_of_the_one_before(house: House) -> None:
    """There is one pair in use; the history says who replaced it."""
    Key.objects.create(project=house.project, kind="tunnel-ca", holder="signer", public=ED25519_LINE, wrapped=b"x")
    ask(client_of(house.owner), "POST", address("keys", house), ports="22001")
    house.pair.refresh_from_db()
    assert house.pair.replaced_at is not None
    assert Pending.objects.get(verb="keys.replaced").data["by"] == house.owner.email


def test_keys_page_says_before_that_the_private_key_is_shown_once(house: House) -> None:
    """Nobody learns only afterwards that there is no second look."""
    assert b"shown once" in ask(client_of(house.owner), "GET", address("keys", house)).content
