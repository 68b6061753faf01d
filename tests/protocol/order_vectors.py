"""The orders among the test vectors: some that are obeyed, and for each code of the judge some that are not."""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from doorward_protocol.digests import digest_of
from doorward_protocol.revisions import MAX_EPOCH_STEP, MAX_REVISION_STEP
from doorward_protocol.signature import keyid_of

from tests.protocol.cast import (
    DEVICE_KEY,
    ENDED,
    GRANT_KEY,
    HELD_BODY,
    HELD_COMMAND,
    HELD_COMMAND_BODY,
    HELD_DOOR,
    NONCES,
    NOW,
    PROJECT,
    RECORD_KEY,
    RELAY_KEY,
    RUNNER_NONCES,
    SETTINGS_BODY,
    STALE,
    STRANGER,
    Draft,
    command_body,
    named,
    open_body,
    ssh_key,
    with_envelope,
    with_payload,
    with_signature,
)

PLAIN: Final = Draft()
OPENS: Final = PLAIN.raw()
FORWARDS: Final[list[dict[str, Any]]] = [
    {"name": "ssh", "target": "ssh", "bind": "*", "port": 22001},
    {"name": "db", "target": "tcp:10.0.0.5:5432", "bind": "localhost", "port": 22002},
]


def command(body: Mapping[str, Any] | str | None = None, **message: Any) -> Draft:
    """Draft a command: the next one, unless ``message`` says otherwise."""
    next_one = {"part": "command", "epoch": HELD_COMMAND.epoch, "revision": HELD_COMMAND.number + 1}
    return Draft(command_body() if body is None else body, next_one | message)


def confirmation(**settings: Any) -> Draft:
    """Draft the confirmation of settings that are on trial."""
    trial = {"epoch": 2, "revision": 2, "digest": digest_of(SETTINGS_BODY.encode())} | settings
    return Draft({"settings": trial}, {"part": "confirm", "epoch": 2, "revision": 2})


def accepted(name: str, raw: bytes, *, repeat: bool = False, judge: str = "agent", pad_to: int = 0) -> dict[str, Any]:
    """Write a vector of an order that is obeyed."""
    return _vector(name, raw, judge, pad_to, {"obeyed": True, "repeat": repeat})


def refused(code: str, why: str, raw: bytes, *, judge: str = "agent", pad_to: int = 0) -> dict[str, Any]:
    """Write a vector of an order that is refused with ``order.<code>``."""
    return _vector(f"{code}: {why}", raw, judge, pad_to, {"obeyed": False, "code": f"order.{code}"})


def _vector(name: str, raw: bytes, judge: str, pad_to: int, expect: Mapping[str, Any]) -> dict[str, Any]:
    try:
        carried = {"raw": raw.decode("ascii")}
    except UnicodeDecodeError:
        carried = {"raw_base64": base64.b64encode(raw).decode()}
    padding = {"pad_to": pad_to} if pad_to else {}
    return {"name": name, "judge": judge, **carried, **padding, "expect": expect}


def order_vectors() -> list[dict[str, Any]]:
    """Give all orders, in the order of the judge's questions."""
    parts = (_obeyed, _unreadable, _unsigned, _unvouched, _misshapen, _misdirected, _out_of_turn, _against_policy)
    return [vector for part in parts for vector in part()]


def _obeyed() -> Iterator[dict[str, Any]]:
    yield accepted("opens", OPENS)
    yield accepted("opens, judged by the runner", OPENS, judge="runner")
    yield accepted("opens, in answer to the ask before the last", Draft(message={"nonce": NONCES[0]}).raw())
    yield accepted("opens, exactly 65,536 bytes", OPENS, pad_to=65_536)
    yield accepted("opens, with fields from a later minor version", Draft(open_body(new=1), {"new": [None]}).raw())
    yield accepted("opens, with a named forward", Draft(open_body(forwards=FORWARDS)).raw())
    yield accepted(
        "opens, with a named forward, judged by the runner", Draft(open_body(forwards=FORWARDS)).raw(), judge="runner"
    )
    yield accepted("shuts a session", Draft({"state": "shut", "session": ENDED}).raw())
    yield accepted("shuts whatever is open", Draft({"state": "shut", "session": None}).raw())
    yield accepted(
        "applies settings",
        Draft(SETTINGS_BODY, {"part": "settings", "revision": 2, "runner_nonce": None}).raw(),
    )
    yield accepted(
        "the last door order, signed again for a new nonce",
        Draft(HELD_BODY, {"revision": HELD_DOOR.number, "issued_at": NOW + 60_000}).raw(),
        repeat=True,
    )
    yield accepted("a command", command().raw())
    yield accepted("a command, judged by the runner", command().raw(), judge="runner")
    again = command(HELD_COMMAND_BODY, revision=HELD_COMMAND.number, issued_at=NOW + 60_000)
    yield accepted("a rehearsal, which is the agent's own", command(command_body(verb="rehearse")).raw())
    yield accepted("the last command, signed again: told, not run", again.raw(), repeat=True)
    yield accepted("confirms settings that are on trial", confirmation().raw())
    furthest = {"epoch": HELD_DOOR.epoch + MAX_EPOCH_STEP, "revision": MAX_REVISION_STEP}
    yield accepted("after a restore, as far ahead as a console may jump", Draft(message=furthest).raw())


def _unreadable() -> Iterator[dict[str, Any]]:
    yield refused("too-large", "one byte more than allowed", OPENS, pad_to=65_537)
    yield refused("not-an-envelope", "nothing at all", b"")
    yield refused("not-an-envelope", "cut short", OPENS[:-1])
    yield refused("not-an-envelope", "not UTF-8", b"\xff" + OPENS)
    yield refused("not-an-envelope", "a list", b"[" + OPENS + b"]")
    yield refused("not-an-envelope", "a key stands twice", b'{"payload":"",' + OPENS[1:])
    yield refused("not-an-envelope", "a number that is not JSON", b'{"n":NaN,' + OPENS[1:])
    yield refused("not-an-envelope", "nested without end", b'{"a":' * 1100)
    yield refused("not-an-envelope", "payload is not base64", with_envelope(OPENS, payload="!"))
    yield refused("not-an-envelope", "payload without padding", with_envelope(OPENS, payload="eyJ2IjoxfQ"))
    yield refused("not-an-envelope", "payload is not ASCII", with_envelope(OPENS, payload="\x80"))
    yield refused("not-an-envelope", "UTF-16", OPENS.decode().encode("utf-16"))
    yield refused("not-an-envelope", "signatures are no list", with_envelope(OPENS, signatures={}))
    yield refused("wrong-type", "a receipt", Draft(of="receipt", signer=RECORD_KEY).raw())
    yield refused("wrong-type", "a grant by the right key", Draft(of="grant").raw())
    yield refused("wrong-type", "another application's type", with_envelope(OPENS, payloadType="application/json"))


def _unsigned() -> Iterator[dict[str, Any]]:
    one = json.loads(OPENS)["signatures"]
    yield refused("unsigned", "no signature", with_envelope(OPENS, signatures=[]))
    yield refused("unsigned", "two signatures", with_envelope(OPENS, signatures=one * 2))
    yield refused("unsigned", "an empty signature", with_signature(OPENS, sig=""))
    yield refused("unsigned", "a signature that is not base64", with_signature(OPENS, sig="*"))
    yield refused("unsigned", "a signature that is not ASCII", with_signature(OPENS, sig="\x80"))
    yield refused("unsigned", "a key id of capitals", with_signature(OPENS, keyid=keyid_of(GRANT_KEY.public).upper()))


def _unvouched() -> Iterator[dict[str, Any]]:
    yield refused("unknown-key", "signed by a stranger", Draft(signer=STRANGER).raw())
    yield refused("unknown-key", "signed by the worker's record key", Draft(signer=RECORD_KEY).raw())
    yield refused("unknown-key", "signed by a relay's record key", Draft(signer=RELAY_KEY).raw())
    yield refused("unknown-key", "signed by a device's own key", Draft(signer=DEVICE_KEY).raw())
    forged = with_signature(Draft(signer=STRANGER).raw(), keyid=keyid_of(GRANT_KEY.public))
    yield refused("bad-signature", "a stranger's, under the pinned key's id", forged)
    other_end = Draft(open_body(duration_s=86_400)).payload()
    yield refused("bad-signature", "the payload was changed", with_payload(OPENS, other_end))
    retyped = with_envelope(Draft(of="grant").raw(), payloadType="application/vnd.doorward.order+json")
    yield refused("bad-signature", "signed as a grant, sent as an order", retyped)
    yield refused("bad-signature", "63 bytes", with_signature(OPENS, sig=base64.b64encode(bytes(63)).decode()))


def _misshapen() -> Iterator[dict[str, Any]]:
    yield refused("unknown-version", "version 2", Draft(message={"v": 2}).raw())
    yield refused("unknown-version", "a receipt in an order's envelope", Draft(message={"type": "receipt"}).raw())
    yield refused("malformed", "payload is not JSON", GRANT_KEY.seal("order", b"{"))
    yield refused("malformed", "no nonce", Draft(without=("nonce",)).raw())
    yield refused("malformed", "a missing runner_nonce is no null", Draft(without=("runner_nonce",)).raw())
    yield refused("malformed", "true is no revision", Draft(message={"revision": True}).raw())
    yield refused("malformed", "revision beyond 63 bits", Draft(message={"revision": 2**63}).raw())
    yield refused("malformed", "a time before 1970", Draft(message={"issued_at": -1}).raw())
    yield refused("malformed", "an unknown part", Draft(message={"part": "window"}).raw())
    yield refused("malformed", "the device id of another kind", Draft(message={"device": PROJECT}).raw())
    yield refused("malformed", "body is an object, not a string", Draft(message={"body": {"state": "shut"}}).raw())
    yield refused(
        "malformed", "text that is no Unicode", Draft('{"values":{"a":"\\ud800"}}', {"part": "settings"}).raw()
    )
    yield refused("malformed", "text with a zero byte", Draft('{"values":{"a":"\\u0000"}}', {"part": "settings"}).raw())
    yield refused("malformed", "a number without bound", Draft('{"values":{"a":1e400}}', {"part": "settings"}).raw())
    yield refused("malformed", "body is not JSON", Draft("open").raw())
    yield refused("malformed", "neither open nor shut", Draft({"state": "ajar", "session": None}).raw())
    yield refused("malformed", "no relay", Draft(open_body(relays=[])).raw())
    yield refused("malformed", "no forward", Draft(open_body(forwards=[])).raw())
    yield refused("malformed", "lasts no time", Draft(open_body(duration_s=0)).raw())
    elsewhere = [{"name": "ssh", "target": "ssh", "bind": "0.0.0.0", "port": 22001}]
    yield refused("malformed", "another bind address", Draft(open_body(forwards=elsewhere)).raw())
    beyond = [{"name": "ssh", "target": "ssh", "bind": "*", "port": 65_536}]
    yield refused("malformed", "a port beyond the last", Draft(open_body(forwards=beyond)).raw())
    yield refused("malformed", "a confirmation without a digest", confirmation(digest=None).raw())
    yield refused("malformed", "a command without an id of its own", command(command_body(command=ENDED)).raw())
    yield refused("malformed", "arguments are a list", command(command_body(arguments=[])).raw())
    long = {"text": "x" * 4_096}
    yield refused("malformed", "arguments beyond 4 KiB", command(command_body(arguments=long)).raw())


def _misdirected() -> Iterator[dict[str, Any]]:
    yield refused("other-device", "another device", Draft(message={"device": named("d", "other")}).raw())
    yield refused("other-device", "another project", Draft(message={"project": named("p", "other")}).raw())


def _out_of_turn() -> Iterator[dict[str, Any]]:
    yield refused("stale-nonce", "kept back for ten minutes", Draft(message={"nonce": STALE}).raw())
    yield refused("stale-nonce", "the runner's nonce at the agent", Draft(message={"nonce": RUNNER_NONCES[1]}).raw())
    old = Draft(message={"runner_nonce": STALE}).raw()
    yield refused("stale-nonce", "fresh for the agent, not for the runner", old, judge="runner")
    none = Draft(message={"runner_nonce": None}).raw()
    yield refused("stale-nonce", "no runner's nonce, at the runner", none, judge="runner")
    earlier = {"revision": HELD_DOOR.number - 1}
    yield refused("lower-revision", "the right nonce with an older revision", Draft(message=earlier).raw())
    before = {"epoch": HELD_DOOR.epoch - 1, "revision": 999}
    yield refused("lower-revision", "a higher number of an older epoch", Draft(message=before).raw())
    yield refused("other-digest", "equal revision, another body", Draft(message={"revision": HELD_DOOR.number}).raw())
    jump = {"revision": HELD_DOOR.number + MAX_REVISION_STEP + 1}
    yield refused("too-far-ahead", "a jump in the revision", Draft(message=jump).raw())
    epoch = {"epoch": HELD_DOOR.epoch + MAX_EPOCH_STEP + 1, "revision": 1}
    yield refused("too-far-ahead", "a jump in the epoch", Draft(message=epoch).raw())
    yield refused("lower-revision", "a command that came before", command(revision=HELD_COMMAND.number - 1).raw())
    other = command(revision=HELD_COMMAND.number).raw()
    yield refused("other-digest", "another command under the last one's number", other)
    both = {"epoch": HELD_DOOR.epoch + 1, "revision": MAX_REVISION_STEP + 1}
    yield refused("too-far-ahead", "a jump in the revision of the next epoch", Draft(message=both).raw())


def _against_policy() -> Iterator[dict[str, Any]]:
    yield refused("session-ended", "a session that ended is ordered again", Draft(open_body(session=ENDED)).raw())
    yield refused("past-its-end", "ends when it is signed", Draft(open_body(ends_at=NOW)).raw())
    yield refused("too-long", "duration beyond the device's", Draft(open_body(duration_s=86_401)).raw())
    yield refused("too-long", "end beyond the device's", Draft(open_body(ends_at=NOW + 86_400_001)).raw())
    key = ssh_key("engineer")
    for why, login in (
        ("another user", {"user": "root", "authorized_keys": [key]}),
        ("a key with options", {"user": "remote-admin", "authorized_keys": [f'command="id" {key}']}),
        ("a key with a second line", {"user": "remote-admin", "authorized_keys": [f"{key}\n{key}"]}),
        ("a DSS key", {"user": "remote-admin", "authorized_keys": ["ssh-dss AAAA"]}),
    ):
        yield refused("not-allowed", why, Draft(open_body(login=login)).raw())
    target = [{"name": "db", "target": "tcp:10.0.0.5:5432", "bind": "*", "port": 22001}]
    yield refused("not-allowed", "another target", Draft(open_body(forwards=target)).raw())
    for why, named_after in (
        ("a second way to the door", FORWARDS[1] | {"name": "again", "target": "ssh"}),
        ("two forwards of one name", FORWARDS[1] | {"name": "ssh"}),
        ("two forwards on one port", FORWARDS[1] | {"port": FORWARDS[0]["port"]}),
    ):
        yield refused("not-allowed", why, Draft(open_body(forwards=[FORWARDS[0], named_after])).raw())
    yield refused("past-its-end", "a command that has expired", command(command_body(expires_at=NOW)).raw())
    rehearsal = command(command_body(verb="rehearse"))
    yield refused("not-allowed", "a verb that no command has", command(command_body(verb="settings-apply")).raw())
    yield refused("not-allowed", "a rehearsal, which root has no part in", rehearsal.raw(), judge="runner")
    yield refused("not-allowed", "a verb that is a path", command(command_body(verb="../reboot")).raw())
    yield refused("not-allowed", "a banner with a line break", Draft(open_body(banner="abc\nPort 22")).raw())


NAMES_ITS_ORDER: Final = frozenset(
    f"order.{code}"
    for code in (
        "other-device", "stale-nonce", "lower-revision", "other-digest", "too-far-ahead",
        "session-ended", "past-its-end", "too-long", "not-allowed",
    )
)  # fmt: skip
"""Refusals from step 5 on: only there is the order's id believed."""
