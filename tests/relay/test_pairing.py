"""Pairing: one console, one token, one hour; afterwards one client certificate."""

import dataclasses
import json
import ssl
from pathlib import Path

import doorward_relay
import httpx
import pytest
from doorward_protocol.joining import pairing_from_text, token_digest
from doorward_relay.edges.store import Store
from doorward_relay.pairing import OFFER_MS, WRONG_TRIES, PairingOffer, judge_token

from tests.parts.certificates import make_root
from tests.parts.installed import require
from tests.parts.processes import run
from tests.parts.waiting import wait_until
from tests.relay.relaying import MANAGED, Console, Relay, now_ms

TOKEN = "a" * 26


def test_a_relay_when_it_is_paired_then_it_says_what_a_console_needs(relay: Relay, console: Console) -> None:
    """The answer names keys, ports and clock; nothing of it is secret."""
    said = console.introduced
    assert said["relay"] == console.relay_id
    assert said["ssh_port"] == relay.ssh_port
    assert said["ssh_host_keys"] == [relay.line.ssh_host_key]
    assert said["ports"] == [relay.ports[0], relay.ports[-1]]
    assert abs(said["clock_at"] - now_ms()) < 10_000
    assert console.get("/readyz").json() == {"ok": True, "sshd": True, "ledger": True}


def test_a_relay_when_it_is_unpaired_then_it_serves_the_pairing_alone(relay: Relay) -> None:
    """Before the pairing there are no grants, and a wrong token is told so."""
    console = Console(relay, relay.folder)
    with console.http() as http:
        wrong = http.post("/v1/pair", json=console.pairing_document(TOKEN))
        put = http.put("/v1/grants/s-aaaaaaaaaaaaaaaa", json={})
        healthy = http.get("/healthz")
    assert (wrong.status_code, wrong.json()["code"]) == (403, "relay.bad-token")
    assert (put.status_code, put.json()["code"]) == (403, "relay.not-paired")
    assert healthy.json() == {"ok": True}
    assert console.pair()["relay"] == console.relay_id


def test_a_relay_when_it_is_paired_then_a_second_pairing_and_other_clients_are_refused(
    relay: Relay, console: Console
) -> None:
    """From the pairing on, TLS itself lets nobody in but the pinned certificate."""
    again = console.call("POST", "/v1/pair", console.pairing_document())
    assert (again.status_code, again.json()["code"]) == (409, "relay.already-paired")
    for client in (None, make_root().client("worker-1")):
        with console.http(client) as http, pytest.raises((httpx.HTTPError, ssl.SSLError)):
            http.get("/healthz")


def test_a_relay_when_a_client_shows_what_the_pinned_certificate_issued_then_it_is_refused(relay: Relay) -> None:
    """Exactly the pinned certificate: one that the pinned one signed is another one."""
    root = make_root()
    authority = root.intermediate("a worker that can sign")
    console = Console(relay, relay.folder)
    console.client = dataclasses.replace(root.client("worker-1"), chain_pem=authority.pem)
    with console.http() as http:
        assert http.post("/v1/pair", json=console.pairing_document()).status_code == 200
    issued = authority.client("worker-2")
    console.client = issued
    with console.http(issued) as http:
        answer = http.get("/healthz", timeout=5)
    assert (answer.status_code, answer.json()["code"]) == (403, "relay.wrong-certificate")


def test_a_request_when_the_relay_does_not_know_it_then_it_says_so_and_what_to_do(console: Console) -> None:
    """A console may be newer than its relay."""
    for method, path in (
        ("GET", "/v2/records"),
        ("DELETE", "/v1/reconcile"),
        ("GET", "/v1/grants/s-a/b/c"),
        ("GET", "/"),
    ):
        answer = console.call(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "relay.unknown-request")
        assert "older" in answer.json()["next"]


def test_a_token_when_an_hour_has_passed_then_it_is_void(relay: Relay) -> None:
    """The relay's own clock ends the offer, also one from the future."""
    store = Store(relay.folder / "state/relay.db")
    offer = store.offer()
    assert offer is not None
    store.keep_offer(dataclasses.replace(offer, made_at=offer.made_at - OFFER_MS))
    store.close()
    console = Console(relay, relay.folder)
    with console.http() as http:
        answer = http.post("/v1/pair", json=console.pairing_document())
    assert answer.json()["code"] == "relay.bad-token"


def test_a_token_when_ten_wrong_ones_were_shown_then_the_right_one_is_void() -> None:
    """Guessing ends the offer; the right token in time takes it up."""
    offer = PairingOffer(token_digest(TOKEN), made_at=1000)
    assert judge_token(offer, TOKEN, now=2000) is None
    for tried in range(WRONG_TRIES):
        judged = judge_token(offer, "b" * 26, now=2000)
        assert isinstance(judged, PairingOffer)
        assert judged.wrong == tried + 1
        offer = judged
    assert judge_token(offer, TOKEN, now=2000) == "relay.bad-token"
    assert judge_token(PairingOffer(token_digest(TOKEN), 1000), TOKEN, now=999) == "relay.bad-token"
    assert judge_token(None, TOKEN, now=2000) == "relay.bad-token"


def test_a_relay_when_it_is_to_be_paired_again_then_its_grants_end_and_a_new_line_works(
    relay: Relay, console: Console
) -> None:
    """Withdrawing the pairing shuts everything and opens the door to another console."""
    grant = console.granted(relay.ports[0])
    status, output, errors = relay.command("install", "--pair-again", "--yes")
    assert status == 0, errors
    relay.line = pairing_from_text(output.strip().splitlines()[-1])

    other = Console(relay, relay.folder)
    wait_until(lambda: not relay.admits(grant.session), 5, "the end")
    wait_until(lambda: _is_open(other), 5, "the unpaired listener")
    other.pair()
    if relay.kind == MANAGED:
        assert (relay.folder / "state/sshd/tunnel_ca.pub").read_text().strip() == other.tunnel_ca.public_line
    assert other.put(other.grant(relay.ports[0])).status_code == 200


def _is_open(console: Console) -> bool:
    try:
        with console.http() as http:
            return http.get("/healthz").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.feature("T14")
@pytest.mark.real("curl")
def test_a_version_when_it_is_asked_for_with_curl_then_it_is_told_unpaired_and_paired(
    relay: Relay, scratch: Path
) -> None:
    """A quick check needs no more than curl; once the relay is paired, TLS asks for the console's certificate first."""
    address = f"https://127.0.0.1:{relay.control_port}/version"
    asking: list[str | Path] = [require("curl"), "-s", "-k", "--max-time", "10"]
    wanted = {"version": doorward_relay.__version__, "protocol": [1]}
    assert json.loads(run([*asking, address]).stdout) == wanted

    console = Console(relay, scratch)
    console.pair()
    certificate, key = console.client.write(scratch, "worker")
    assert json.loads(run([*asking, "--cert", certificate, "--key", key, address]).stdout) == wanted
    stranger = run([*asking, address])
    assert (stranger.stdout, stranger.returncode == 0) == (b"", False)
