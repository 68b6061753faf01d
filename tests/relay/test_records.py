"""The relay's own history: a chain that holds, visitors with their bytes, receipts."""

import json
import socket
import threading
import time
from collections.abc import Callable

import pytest
from doorward_protocol.receipts import Receipt, payload_from_receipt
from doorward_protocol.records import Head, check_link
from doorward_relay.chain import PAGE
from doorward_relay.edges.store import Store

from tests.parts.waiting import wait_until
from tests.relay.conftest import Door
from tests.relay.relaying import Console, Device, Relay, now_ms, of_embedded


@pytest.mark.feature("B6")
def test_a_visitor_when_they_used_a_door_then_the_chain_says_from_where_and_how_much(
    relay: Relay, console: Console, dial: Callable[[str], Device], door: Callable[[str], Door]
) -> None:
    """Who connected, from where, for how long, how many bytes; our own probes are no visitors; the chain holds."""
    grant = console.granted(relay.ports[0])
    device, behind = dial(grant.session), door(grant.banner)
    device.dial()
    assert device.forward(relay.ports[0], behind.port) == 0
    console.wait_for_verb("door.answered", grant.session)
    with socket.create_connection(("127.0.0.1", relay.ports[0])) as visitor:
        visitor.sendall(b"x" * 5000)
        came = console.wait_for_verb("visitor.came", grant.session)
        assert came.fact.data["from_port"] == visitor.getsockname()[1]
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 1.2, 3, "one more look of the watch")
    left = console.wait_for_verb("visitor.left", grant.session)

    assert left.fact.data["address"] == "127.0.0.1"
    assert left.fact.data["bytes_from"] == 5000
    assert left.fact.data["bytes_to"] > 20
    assert console.verbs().count("visitor.came") == 1
    last = Head()
    for record in console.records():
        assert check_link(last, record) is None
        last = record.head
    assert console.get("/v1/records").json()["head"] == {"epoch": 0, "n": last.n, "digest": last.digest}


def test_a_probe_when_the_door_is_slow_then_it_is_still_no_visitor(
    relay: Relay, console: Console, dial: Callable[[str], Device], door: Callable[..., Door]
) -> None:
    """The relay's own probes are told from people, however long they stay connected."""
    grant = console.granted(relay.ports[0])
    device, behind = dial(grant.session), door(grant.banner, 2.5)
    device.dial()
    assert device.forward(relay.ports[0], behind.port) == 0
    console.wait_for_verb("door.answered", grant.session)
    assert "visitor.came" not in console.verbs()


@pytest.mark.feature("B8")
def test_a_door_when_it_stops_answering_then_that_is_told_and_so_is_its_return(
    relay: Relay, console: Console, dial: Callable[[str], Device], door: Callable[[str], Door]
) -> None:
    """Green is withdrawn when the tunnel goes, and comes back with it."""
    grant = console.granted(relay.ports[0])
    device, behind = dial(grant.session), door(grant.banner)
    client = device.dial()
    assert device.forward(relay.ports[0], behind.port) == 0
    console.wait_for_verb("door.answered", grant.session)
    client.end()
    assert console.wait_for_verb("door.silent", grant.session).fact.data["code"] == "probe.refused"

    device.dial()
    assert device.forward(relay.ports[0], behind.port) == 0
    wait_until(lambda: console.verbs(grant.session).count("door.answered") == 2, 5, "the door's return")


def test_a_probe_when_another_door_answers_then_it_is_not_open(
    relay: Relay, console: Console, dial: Callable[[str], Device], door: Callable[[str], Door]
) -> None:
    """Only this session's banner counts; nothing there is refused, a mute one is silent."""
    grant = console.granted(relay.ports[0])
    path = f"/v1/probe/{grant.session}"
    assert console.call("POST", path).json()["code"] == "probe.refused"
    device = dial(grant.session)
    device.dial()
    assert device.forward(relay.ports[0], door("of-somebody-else").port) == 0
    assert console.call("POST", path).json()["code"] == "probe.other-banner"
    assert device.ask("cancel", "-R", f"*:{relay.ports[0]}:127.0.0.1:9") in {0, 255}
    assert console.call("POST", "/v1/probe/s-aaaaaaaaaaaaaaaa").json()["code"] == "relay.grant-ended"


def test_records_when_nothing_is_new_then_the_call_waits_for_news(relay: Relay, console: Console) -> None:
    """A long poll answers as soon as there is a record, not before."""
    head = console.get("/v1/records").json()["head"]["n"]
    answers: list[float] = []

    def poll() -> None:
        found = console.get("/v1/records", after=head, wait=20).json()
        answers.append(len(found["records"]))

    waiting = threading.Thread(target=poll, name="long poll")
    began = time.monotonic()
    waiting.start()
    waiting.join(0.7)
    assert waiting.is_alive()
    console.granted(relay.ports[0])
    waiting.join(5)
    assert answers == [1]
    assert time.monotonic() - began < 5


def _receipt(console: Console, upto: int, digest: str | None) -> dict[str, object]:
    heads = {f"console:{console.project}": Head(0, 7, None)}
    receipt = Receipt(console.project, f"relay:{console.relay_id}", upto, digest, now_ms(), heads)  # type: ignore[arg-type]
    document: dict[str, object] = json.loads(console.record_key.seal("receipt", payload_from_receipt(receipt)))
    return document


def test_a_receipt_when_it_is_right_then_its_heads_are_named_and_when_it_is_wrong_the_fork_is_recorded(
    relay: Relay, console: Console
) -> None:
    """Chains name each other's heads; a receipt for another record than ours is written down."""
    console.granted(relay.ports[0])
    head = console.records()[-1].head
    good = console.call("POST", "/v1/receipt", {"receipt": _receipt(console, head.n, head.digest)})
    assert (good.status_code, good.json()) == (200, {})
    console.granted(relay.ports[1])
    assert console.records()[-1].heads == {f"console:{console.project}": Head(0, 7, None)}

    forked = console.call("POST", "/v1/receipt", {"receipt": _receipt(console, head.n, "sha256:" + "0" * 64)})
    assert forked.json()["code"] == "history.forked"
    assert console.verbs()[-1] == "history.forked"
    stranger = Console(relay, console.folder, project=console.project, relay_id=console.relay_id)
    unsigned = console.call("POST", "/v1/receipt", {"receipt": _receipt(stranger, head.n, head.digest)})
    assert unsigned.json()["code"] == "grant.unknown-key"


def test_records_when_they_are_receipted_and_a_month_old_then_they_go_and_the_head_stays(
    relay: Relay, console: Console
) -> None:
    """Receipted records are kept for 30 days; the chain goes on from its head."""
    console.granted(relay.ports[0])
    author, store = f"relay:{console.relay_id}", Store(relay.folder / "state/relay.db")
    head = store.head(author)
    store.keep_receipt(author, head.n, {})
    store.drop_receipted(author, before=1)
    assert len(store.records_after(author, 0, most=100)) == head.n
    store.drop_receipted(author, before=now_ms() + 1000)
    assert len(store.records_after(author, 0, most=100)) == 1
    assert store.head(author) == head
    store.close()


@of_embedded
def test_records_when_there_are_more_than_a_page_then_a_console_reads_on_from_the_last(
    relay: Relay, console: Console
) -> None:
    """A relay of a thousand tunnels had written a thousand records before the one that was waited for, and it never came."""
    grant = console.grant(relay.ports[0])
    with console.http(console.client) as http:
        for _ in range(PAGE // 3 + 1):
            grant = console.grant(relay.ports[0])
            assert http.put(f"/v1/grants/{grant.session}", json={"grant": console.envelope(grant)}).status_code == 200
            end = {"epoch": 0, "seq": console.seq, "why": "turned off"}
            assert http.post(f"/v1/grants/{grant.session}/end", json=end).status_code == 200
    assert console.wait_for_verb("grant.ended", grant.session).head.n > PAGE
    assert [one.head.n for one in console.records()] == list(range(1, len(console.records()) + 1))
