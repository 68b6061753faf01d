"""Orders that must not be obeyed, sent to a real agent process through a real broker."""

import base64
import json
from collections.abc import Callable

import pytest
from doorward_protocol.ids import DeviceId, ProjectId, SessionId
from doorward_protocol.orders import ApplySettings, Login, ShutDoor
from doorward_protocol.revisions import Revision
from doorward_protocol.signature import SigningKey

from tests.agent.conftest import Scene
from tests.agent.scripted import new_id, now_ms, tunnel_children
from tests.parts.waiting import wait_until

pytestmark = pytest.mark.parametrize(("broker_kind", "tunnel"), [("mosquitto", "ssh"), ("trial", "paramiko")])


def document(scene: Scene, **changes: object) -> bytes:
    """Sign an order whose payload has some of its fields replaced."""
    order = payload_of(scene.console.order(scene.open_body()))
    return scene.seat.grant.seal("order", json.dumps({**order, **changes}).encode())


def payload_of(raw: bytes) -> dict[str, object]:
    found = json.loads(base64.b64decode(json.loads(raw)["payload"]))
    assert isinstance(found, dict)
    return found


def signed_wrongly(scene: Scene) -> bytes:
    envelope = json.loads(scene.console.order(scene.open_body()))
    other = json.loads(scene.console.order(scene.open_body()))
    return json.dumps({**envelope, "payload": other["payload"]}).encode()


def without_signature(scene: Scene) -> bytes:
    return json.dumps({**json.loads(scene.console.order(scene.open_body())), "signatures": []}).encode()


REFUSED: dict[str, tuple[str, Callable[[Scene], bytes]]] = {
    "too-large": ("order.too-large", lambda _: b" " * 65_537),
    "not-json": ("order.not-an-envelope", lambda _: b"open the door"),
    "not-an-object": ("order.not-an-envelope", lambda _: b"[1, 2]"),
    "nested": ("order.not-an-envelope", lambda _: b"[" * 60_000),
    "wrong-type": ("order.wrong-type", lambda scene: scene.seat.grant.seal("grant", b"{}")),
    "unsigned": ("order.unsigned", without_signature),
    "stranger": ("order.unknown-key", lambda s: s.console.order(s.open_body(), signer=SigningKey.generate())),
    "worker": ("order.unknown-key", lambda s: s.console.order(s.open_body(), signer=s.seat.record)),
    "changed": ("order.bad-signature", signed_wrongly),
    "unknown-version": ("order.unknown-version", lambda scene: document(scene, v=2)),
    "field-missing": ("order.malformed", lambda scene: document(scene, nonce=None)),
    "other-device": ("order.other-device", lambda s: s.console.order(s.open_body(), device=DeviceId(new_id("d")))),
    "other-project": ("order.other-device", lambda s: s.console.order(s.open_body(), project=ProjectId(new_id("p")))),
    "old-nonce": ("order.stale-nonce", lambda s: s.console.order(s.open_body(), nonce="A" * 22)),
    "too-far-ahead": ("order.too-far-ahead", lambda s: s.console.order(s.open_body(), revision=Revision(17, 1))),
    "past-its-end": ("order.past-its-end", lambda s: s.console.order(s.open_body(ends_at=now_ms() - 60_000))),
    "too-long": ("order.too-long", lambda s: s.console.order(s.open_body(duration_s=30_000))),
    "root": ("order.not-allowed", lambda s: s.console.order(s.console.body(login=Login("root", ()), relays=s.routes))),
}


@pytest.mark.threat("broker-forgery", "worker-signs", "broker-retarget")
@pytest.mark.parametrize("case", REFUSED)
def test_order_when_it_may_not_be_obeyed_then_refused_recorded_and_nothing_opens(running: Scene, case: str) -> None:
    """A refused order is recorded with its code, nothing opens, and the next good order is obeyed."""
    code, make = REFUSED[case]
    running.console.publish(make(running))
    body = running.open()
    wait_until(lambda: code in running.console.refusals(), what=code)
    assert running.runner.verbs == ["order"]
    accepted = [record.fact.session for record in running.console.records if record.fact.verb == "order.accepted"]
    assert set(accepted) == {body.session}


@pytest.mark.threat("broker-replay")
def test_order_when_it_was_obeyed_before_then_playing_it_again_opens_nothing(running: Scene) -> None:
    """The order that opened a session, played again after the session was shut, is a lower revision."""
    console = running.console
    body = running.open_body()
    raw = console.order(body)
    console.publish(raw)
    console.wait_for_state("OPEN")
    console.shut(body.session)
    console.wait_for_state("SHUT")
    console.publish(raw)
    wait_until(lambda: "order.lower-revision" in console.refusals())
    assert console.asks[-1].door.state == "SHUT"
    assert running.runner.verbs == ["order", "close"]


def test_order_when_revision_is_equal_and_digest_another_then_refused_as_alarm(running: Scene) -> None:
    """Two orders with one revision mean that one is forged: the second is refused, the door stays as it was."""
    body = running.open()
    running.console.publish(running.console.order(running.open_body(), revision=Revision(0, running.console.revision)))
    wait_until(lambda: "order.other-digest" in running.console.refusals())
    assert running.console.asks[-1].door.session == body.session


def test_order_when_session_has_ended_then_it_never_opens_again(running: Scene) -> None:
    """A session that was shut stays shut, whatever revision asks for it."""
    body = running.open()
    running.console.shut(body.session)
    running.console.wait_for_state("SHUT")
    running.console.publish(running.console.order(running.certified(body)))
    wait_until(lambda: "order.session-ended" in running.console.refusals())
    assert running.runner.verbs == ["order", "close"]


@pytest.mark.threat("broker-late")
def test_order_when_agent_was_restarted_meanwhile_then_an_order_kept_back_is_stale(running: Scene) -> None:
    """Nonces live in memory alone: an order for the agent that ran before answers nothing."""
    console = running.console
    kept_back = console.order(running.open_body())
    assert running.agent is not None
    running.agent.kill()
    count = len(console.asks)
    running.start_agent()
    console.next_ask(count)
    console.publish(kept_back)
    again = console.next_ask(count + 1)
    assert again.nonce == console.asks[count].nonce
    body = running.open()
    wait_until(lambda: "order.stale-nonce" in console.refusals())
    assert console.asks[-1].door.session == body.session


def test_order_when_many_are_rubbish_then_one_record_and_later_a_count(running: Scene) -> None:
    """Equal refusals within a minute are counted, not repeated."""
    for _ in range(50):
        running.console.publish(b"rubbish")
    running.open()
    wait_until(lambda: "door.opened" in running.console.verbs())
    assert running.console.refusals() == ["order.not-an-envelope"]


def test_order_on_twice_when_the_same_then_one_door(running: Scene) -> None:
    """The same revision signed again opens nothing twice."""
    body = running.open()
    running.console.publish(running.console.order(body, revision=Revision(0, running.console.revision)))
    running.console.publish(running.console.order(body, revision=Revision(0, running.console.revision)))
    running.console.publish(running.console.order(ShutDoor(SessionId(body.session))))
    running.console.wait_for_state("SHUT")
    assert running.runner.verbs == ["order", "close"]


def test_order_off_twice_when_already_shut_then_still_shut(running: Scene) -> None:
    """OFF for what is shut already is accepted and does nothing."""
    body = running.open()
    running.console.shut(body.session)
    running.console.shut(None)
    running.console.wait_for_state("SHUT")
    wait_until(lambda: running.console.asks[-1].door.revision.number == running.console.revision)
    assert running.runner.verbs == ["order", "close"]


def test_order_off_when_still_opening_then_nothing_stays_open(running: Scene) -> None:
    """OFF right behind ON ends in SHUT, with runner and tunnel ended."""
    body = running.open_body()
    running.console.publish(running.console.order(body))
    running.console.shut(body.session)
    running.console.wait_for_state("SHUT")
    assert running.agent is not None
    assert tunnel_children(running.agent.pid) == []
    assert running.runner.session is None


def test_order_when_extended_then_runner_is_told_and_tunnel_is_untouched(running: Scene) -> None:
    """A later end for the same session reaches the runner while the tunnel stays the same process."""
    body = running.open()
    assert running.agent is not None
    before = tunnel_children(running.agent.pid)
    longer = running.certified(running.console.body(body.session, ends_at=body.ends_at + 1_800_000, duration_s=5400))
    running.console.publish(running.console.order(longer))
    wait_until(lambda: running.runner.verbs == ["order", "order"])
    wait_until(lambda: running.console.asks[-1].door.revision.number == running.console.revision)
    assert running.console.asks[-1].door.state == "OPEN"
    assert tunnel_children(running.agent.pid) == before


def test_order_when_another_session_is_wanted_then_the_first_gives_way(running: Scene) -> None:
    """An order for another session shuts the first and opens its own."""
    first = running.open()
    second = running.open_body()
    running.console.publish(running.console.order(second))
    running.console.next_ask(what=lambda ask: ask.door.session == second.session and ask.door.state == "OPEN")
    assert running.runner.verbs == ["order", "close", "order"]
    assert first.session != second.session


@pytest.mark.feature("I10")
def test_settings_when_ordered_then_reported_and_recorded(running: Scene) -> None:
    """A settings order becomes what the device reports, and a record."""
    running.console.publish(running.console.order(ApplySettings({"interval_s": 30})))
    ask = running.console.next_ask(what=lambda ask: ask.settings.values == {"interval_s": 30})
    assert ask.settings.revision.number == running.console.revision
    wait_until(lambda: "settings.applied" in running.console.verbs())


@pytest.mark.threat("broker-forgery")
def test_settings_when_revision_is_lower_then_the_newer_document_stays(running: Scene) -> None:
    """Settings have counters of their own and do not go back."""
    running.console.publish(running.console.order(ApplySettings({"a": 1}), revision=Revision(0, 5)))
    running.console.next_ask(what=lambda ask: ask.settings.values == {"a": 1})
    running.console.publish(running.console.order(ApplySettings({"a": 2}), revision=Revision(0, 4)))
    wait_until(lambda: "order.lower-revision" in running.console.refusals())
    assert running.console.asks[-1].settings.values == {"a": 1}


def test_order_when_payload_is_no_json_then_malformed(running: Scene) -> None:
    """Signed rubbish is refused after its signature."""
    running.console.publish(running.seat.grant.seal("order", b"\xff\x00"))
    running.open()
    wait_until(lambda: running.console.refusals() in (["order.malformed"], ["order.unknown-version"]))
