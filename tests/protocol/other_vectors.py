"""Vectors beside the orders: records and their chain, receipts, grants, asks, and the two lines carried by hand."""

import json
from collections.abc import Mapping
from typing import Any, Final

from doorward_protocol.digests import digest_of
from doorward_protocol.envelope import SignedBytes
from doorward_protocol.joining import fingerprint_of, token_from_bytes
from doorward_protocol.records import Fact, Head, Moment, head_after, next_payload
from doorward_protocol.signature import SigningKey

from tests.protocol.cast import (
    ASKED,
    DEVICE,
    DEVICE_KEY,
    GRANT_KEY,
    NONCES,
    NOW,
    PROJECT,
    RECORD_KEY,
    RELAY,
    RUNNER_NONCES,
    SESSION,
    STRANGER,
    TWO_HOURS_S,
    named,
    ssh_key,
    with_envelope,
)

BOOT: Final = "0123456789abcdef0123456789abcdef"
AUTHOR: Final = f"device:{DEVICE}"
CONSOLE_HEAD: Final = Head(0, 90, digest_of(b"the console's record 90"))

_HAPPENED: Final = (
    (Moment(None, BOOT, 4_000), Fact("agent.started", None, DEVICE)),
    (Moment(NOW, BOOT, 9_000), Fact("order.accepted", SESSION, DEVICE, {"part": "door", "epoch": 2, "revision": 5})),
    (Moment(NOW + 228, BOOT, 9_228), Fact("door.opened", SESSION, DEVICE, {"relay": RELAY, "port": 22001})),
)


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def device_chain() -> list[bytes]:
    """Give the payloads of a device's first three records."""
    payloads, last = [], Head()
    for moment, fact in _HAPPENED:
        heads = {} if moment.at is None else {f"console:{PROJECT}": CONSOLE_HEAD}
        payloads.append(next_payload(AUTHOR, last, moment, fact, heads))
        last = head_after(payloads[-1], last)
    return payloads


def record_vectors() -> list[dict[str, Any]]:
    """Give a chain of records, each with the digest that the next one names."""
    return [
        {
            "name": f"record {number}",
            "raw": DEVICE_KEY.seal("record", payload).decode(),
            "payload": payload.decode(),
            "digest": digest_of(payload),
        }
        for number, payload in enumerate(device_chain(), 1)
    ]


def receipt_vectors() -> list[dict[str, Any]]:
    """Give a receipt for all three records, and one for none."""
    payloads = device_chain()
    return [
        _receipt("stored up to 3", {"upto": 3, "digest": digest_of(payloads[-1])}),
        _receipt("nothing stored", {"upto": 0, "digest": None}),
    ]


def _receipt(name: str, what: Mapping[str, Any]) -> dict[str, Any]:
    document = {"type": "receipt", "v": 1, "project": PROJECT, "author": AUTHOR, **what, "at": NOW + 1000, "heads": {}}
    return {
        "name": name,
        "raw": RECORD_KEY.seal("receipt", _json(document)).decode(),
        "payload": _json(document).decode(),
    }


def _grant(changes: Mapping[str, Any] | None = None, signer: SigningKey = GRANT_KEY, of: str = "grant") -> SignedBytes:
    document = {
        "type": "grant",
        "v": 1,
        "project": PROJECT,
        "relay": RELAY,
        "epoch": 0,
        "seq": 12,
        "session": SESSION,
        "device": DEVICE,
        "issued_at": NOW,
        "ends_at": NOW + TWO_HOURS_S * 1000,
        "forwards": [{"name": "ssh", "bind": "*", "port": 22001}],
        "banner": "abcdefgh234567ab",
        "asked": ASKED,
    }
    return signer.seal(of, _json(document | dict(changes or {})))


def grant_vectors() -> list[dict[str, Any]]:
    """Give a grant that reads well, and one for each code that the signature and the shape decide."""
    plain = _grant()
    public = [{"name": "ssh", "bind": "0.0.0.0", "port": 22001}]
    cases: list[tuple[str | None, bytes]] = [
        (None, plain),
        ("grant.not-an-envelope", b"{}"),
        ("grant.wrong-type", _grant(of="order")),
        ("grant.unsigned", with_envelope(plain, signatures=[])),
        ("grant.unknown-key", _grant(signer=STRANGER)),
        ("grant.unknown-key", _grant(signer=RECORD_KEY)),
        ("grant.bad-signature", with_envelope(plain, payload=json.loads(_grant({"seq": 13}))["payload"])),
        ("grant.unknown-version", _grant({"v": 2})),
        ("grant.malformed", _grant({"seq": 0})),
        ("grant.malformed", _grant({"forwards": public})),
        ("grant.other-relay", _grant({"relay": named("r", "other")})),
        ("grant.other-relay", _grant({"project": named("p", "other")})),
    ]
    rehearsal = {"name": "a grant for a rehearsal", "raw": _grant({"forwards": []}).decode(), "code": None}
    return [*({"name": code or "a grant", "raw": raw.decode(), "code": code} for code, raw in cases), rehearsal]


def ask_vectors() -> list[dict[str, Any]]:
    """Give asks of a device before its first order, of one with an open door, and some that are none."""
    first: dict[str, Any] = {
        "type": "ask",
        "v": 1,
        "device": DEVICE,
        "boot": BOOT,
        "count": 1,
        "nonce": NONCES[1],
        "runner_nonce": RUNNER_NONCES[1],
        "clock_at": 0,
        "uptime_s": 12,
        "agent": "0.1.0",
        "facts": {"hostname": "pump-7", "os": "Debian 12", "arch": "aarch64", "firmware": "3.1"},
        "door": {
            "state": "SHUT",
            "session": None,
            "epoch": 0,
            "revision": 0,
            "digest": None,
            "code": None,
            "needs_order": False,
        },
        "settings": {"epoch": 0, "revision": 0, "digest": None, "values": {}},
        "journal": {"first": 0, "n": 0, "digest": None},
    }
    taken = {
        "command": {"epoch": 2, "revision": 6, "digest": digest_of(b""), "needs_order": False},
        "verbs": ["reboot", "message"],
    }
    trying = first["settings"] | {
        "epoch": 2,
        "revision": 2,
        "digest": digest_of(b""),
        "state": "trying",
        "code": None,
        "lacks": "",
    }
    opened = first["door"] | {"state": "OPEN", "session": SESSION, "epoch": 2, "revision": 5, "digest": digest_of(b"")}
    return [
        {"name": "before the first order", "raw": _json(first).decode(), "reads": True},
        {"name": "with an open door and no runner", "raw": _json(first | {"door": opened, "runner_nonce": None}).decode(), "reads": True},
        {"name": "with a command taken, and the commands that it has hooks for", "raw": _json(first | taken).decode(), "reads": True},
        {"name": "from an agent that has not been told yet which hooks there are", "raw": _json(first | taken | {"verbs": ["rehearse"], "knows_hooks": False}).decode(), "reads": True},
        {"name": "hooks that are perhaps known", "raw": _json(first | taken | {"knows_hooks": "perhaps"}).decode(), "reads": False},
        {"name": "with a wish", "raw": _json(first | taken | {"wish": "rehearse"}).decode(), "reads": True},
        {"name": "with the forwards that it allows", "raw": _json(first | taken | {"forwards": [{"name": "db", "target": "tcp:10.0.0.5:5432"}]}).decode(), "reads": True},
        {"name": "a forward without a target", "raw": _json(first | taken | {"forwards": [{"name": "db"}]}).decode(), "reads": False},
        {"name": "a wish that is no text", "raw": _json(first | taken | {"wish": ["rehearse"]}).decode(), "reads": False},
        {"name": "with settings on trial", "raw": _json(first | {"settings": trying}).decode(), "reads": True},
        {"name": "a later version", "raw": _json(first | {"v": 2}).decode(), "reads": False},
        {"name": "a trial of its own", "raw": _json(first | {"settings": trying | {"state": "AJAR"}}).decode(), "reads": False},
        {"name": "commands that are no list", "raw": _json(first | {"verbs": "reboot"}).decode(), "reads": False},
        {"name": "no nonce", "raw": _json({k: v for k, v in first.items() if k != "nonce"}).decode(), "reads": False},
        {"name": "a state of its own", "raw": _json(first | {"door": opened | {"state": "AJAR"}}).decode(), "reads": False},
    ]  # fmt: skip


TOKEN: Final = token_from_bytes(bytes(range(17)))
FINGERPRINT: Final = fingerprint_of(b"a certificate")


def time_vectors() -> list[dict[str, Any]]:
    """Give what becomes of a device's time: console time less boot-time clock before and after an order, in ms."""
    uptime_ms, day_ms = 1_000_000, 86_400_000
    true_ms = NOW - uptime_ms
    rows: tuple[tuple[str, int | None, int, int, int], ...] = (
        ("the first order of a boot", None, 900_000, NOW, true_ms),
        ("what is known may be true", true_ms, 900_000, NOW, true_ms),
        ("signed later than what is known", true_ms - 5_000, 900_000, NOW, true_ms),
        ("kept back for 60 s", true_ms, 900_000, NOW - 60_000, true_ms),
        ("kept back for as long as its nonce is old", true_ms, 900_000, NOW - 100_000, true_ms),
        (
            "known was more than its nonce allows: the console's clock was set back",
            true_ms + 100_001,
            900_000,
            NOW,
            true_ms,
        ),
        ("known was a day ahead", true_ms + day_ms, 900_000, NOW, true_ms),
        ("known was ahead, and may have been true", true_ms + 100_000, 900_000, NOW, true_ms + 100_000),
    )
    return [
        {"name": name, "held_ahead_ms": held, "nonce_ms": nonce, "now_ms": uptime_ms, "issued_at": at, "ahead_ms": then}
        for name, held, nonce, at, then in rows
    ]


def line_vectors() -> dict[str, list[dict[str, Any]]]:
    """Give join strings and pairing lines, some of them damaged as copying damages them."""
    join = f"doorward-join-1 https://console.example.com {TOKEN} {FINGERPRINT}"
    pair = f"doorward-relay-1 relay.example.com 8443 {FINGERPRINT} {TOKEN} {ssh_key('relay host key')}"
    return {
        "join_strings": [
            {"text": join, "address": "https://console.example.com", "token": TOKEN, "fingerprint": FINGERPRINT},
            {
                "text": f"  {join}\n",
                "address": "https://console.example.com",
                "token": TOKEN,
                "fingerprint": FINGERPRINT,
            },
            {"text": join.replace("https", "http"), "address": None},
            {"text": join[:-1], "address": None},
            {"text": join.replace(TOKEN, TOKEN[:-1]), "address": None},
            {"text": pair, "address": None},
        ],
        "pairing_lines": [
            {"text": pair, "host": "relay.example.com", "port": 8443, "ssh_host_key": ssh_key("relay host key")},
            {"text": pair.replace("8443", "65536"), "host": None},
            {"text": pair.rpartition(" ")[0], "host": None},
            {"text": join, "host": None},
        ],
    }
