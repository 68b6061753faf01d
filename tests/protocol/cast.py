"""Who appears in the signed test vectors: keys from fixed seeds, ids, one device's standing, and a plain order.

The seeds are public, so these keys protect nothing: no installation may ever pin one of them.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from doorward_protocol.admission import DoorPolicy, Held, Standing
from doorward_protocol.digests import digest_of
from doorward_protocol.ids import DeviceId, ProjectId, RelayId, SessionId, id_from_bytes
from doorward_protocol.revisions import Revision
from doorward_protocol.signature import KeyRing, SigningKey

NOW: Final = 1_790_000_000_000
TWO_HOURS_S: Final = 7200


def _chance(of: str, length: int) -> bytes:
    return hashlib.sha256(f"doorward test vectors: {of}".encode()).digest()[:length]


def key(of: str) -> SigningKey:
    """Make the key of one who appears here."""
    return SigningKey.from_raw(_chance(f"key of {of}", 32))


def nonce(of: str) -> str:
    """Make a nonce: 22 characters of base64url."""
    return base64.urlsafe_b64encode(_chance(f"nonce {of}", 16)).decode().rstrip("=")


def ssh_key(of: str) -> str:
    """Make an Ed25519 public key line (RFC 8709)."""
    raw = base64.b64decode(key(of).public)
    name = b"ssh-ed25519"
    blob = len(name).to_bytes(4, "big") + name + len(raw).to_bytes(4, "big") + raw
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def named(kind: str, of: str) -> str:
    """Make the id of one who appears here."""
    return id_from_bytes(kind, _chance(f"{kind} {of}", 10))


GRANT_KEY: Final = key("grant key")
RECORD_KEY: Final = key("record key")
DEVICE_KEY: Final = key("device identity")
RELAY_KEY: Final = key("relay record key")
STRANGER: Final = key("stranger")
KEYS: Final = {
    "grant": GRANT_KEY,
    "record": RECORD_KEY,
    "device": DEVICE_KEY,
    "relay": RELAY_KEY,
    "stranger": STRANGER,
}

PROJECT: Final = ProjectId(named("p", "project"))
DEVICE: Final = DeviceId(named("d", "device"))
RELAY: Final = RelayId(named("r", "relay"))
SESSION: Final = SessionId(named("s", "session"))
ENDED: Final = SessionId(named("s", "ended session"))
ORDER: Final = named("o", "order")

NONCES: Final = (nonce("agent, the one before"), nonce("agent"))
RUNNER_NONCES: Final = (nonce("runner, the one before"), nonce("runner"))
STALE: Final = nonce("ten minutes ago")

ASKED: Final = {"by": "aiko@example.com", "at": NOW, "reason": "ticket 4711"}


def open_body(**changes: Any) -> dict[str, Any]:
    """Give the body of a plain order that opens."""
    body: dict[str, Any] = {
        "state": "open",
        "session": SESSION,
        "ends_at": NOW + TWO_HOURS_S * 1000,
        "duration_s": TWO_HOURS_S,
        "relays": [
            {
                "relay": RELAY,
                "kind": "managed",
                "host": "relay.example.com",
                "port": 2222,
                "user": "doorward-tunnel",
                "host_keys": [ssh_key("relay's host key")],
                "certificate": "ssh-ed25519-cert-v01@openssh.com AAAA",
            }
        ],
        "forwards": [{"name": "ssh", "target": "ssh", "bind": "*", "port": 22001}],
        "login": {"user": "remote-admin", "authorized_keys": [ssh_key("engineer")]},
        "banner": "abcdefgh234567ab",
        "asked": ASKED,
    }
    return body | changes


HELD_BODY: Final = json.dumps({"state": "shut", "session": None}, separators=(",", ":"))
"""The door order that the device obeyed last: revision 4 of epoch 2."""
HELD_DOOR: Final = Revision(2, 4)
HELD_SETTINGS: Final = Revision(2, 1)
SETTINGS_BODY: Final = '{"values":{"ntp":"time.example.com"}}'

COMMAND: Final = named("c", "command")
HELD_COMMAND: Final = Revision(2, 6)


def command_body(**changes: Any) -> dict[str, Any]:
    """Give the body of a plain command."""
    body: dict[str, Any] = {
        "command": COMMAND,
        "verb": "reboot",
        "arguments": {},
        "expires_at": NOW + 3_600_000,
        "asked": ASKED,
    }
    return body | changes


HELD_COMMAND_BODY: Final = json.dumps(command_body(command=named("c", "the one before")), separators=(",", ":"))
"""The command that the device took last."""

POLICY: Final = DoorPolicy(longest_s=86_400, login_user="remote-admin")


def standing(*, as_runner: bool = False) -> Standing:
    """Give what the device of the vectors holds; agent and runner differ in their nonces."""
    return Standing(
        device=DEVICE,
        project=PROJECT,
        keys=KeyRing([GRANT_KEY.public]),
        nonces=RUNNER_NONCES if as_runner else NONCES,
        held={
            "door": Held(HELD_DOOR, digest_of(HELD_BODY.encode())),
            "settings": Held(HELD_SETTINGS, digest_of(SETTINGS_BODY.encode())),
            "command": Held(HELD_COMMAND, digest_of(HELD_COMMAND_BODY.encode())),
        },
        ended=frozenset({ENDED}),
        policy=POLICY,
        judges_as_runner=as_runner,
    )


@dataclass(frozen=True, slots=True)
class Draft:
    """An order that is not signed yet, changeable layer by layer.

    Attributes:
        body: the part's document, or its text as it stands.
        message: fields that replace those of the plain order.
        without: fields of the message that are left out.
        of: the envelope's type.
        signer: who signs.
    """

    body: Mapping[str, Any] | str = field(default_factory=open_body)
    message: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    of: str = "order"
    signer: SigningKey = GRANT_KEY

    def payload(self) -> bytes:
        """Write the message that is signed."""
        text = self.body if isinstance(self.body, str) else json.dumps(self.body, separators=(",", ":"))
        document = {
            "type": "order",
            "v": 1,
            "id": ORDER,
            "project": PROJECT,
            "device": DEVICE,
            "nonce": NONCES[1],
            "runner_nonce": RUNNER_NONCES[1],
            "issued_at": NOW,
            "part": "door",
            "epoch": HELD_DOOR.epoch,
            "revision": HELD_DOOR.number + 1,
            "body": text,
        } | dict(self.message)
        kept = {name: value for name, value in document.items() if name not in self.without}
        return json.dumps(kept, separators=(",", ":")).encode()

    def raw(self) -> bytes:
        """Write the envelope as it travels."""
        return self.signer.seal(self.of, self.payload())


def with_payload(raw: bytes, payload: bytes) -> bytes:
    """Put another payload under the signature of ``raw``."""
    document = json.loads(raw)
    document["payload"] = base64.b64encode(payload).decode()
    return json.dumps(document, separators=(",", ":")).encode()


def with_envelope(raw: bytes, **changes: Any) -> bytes:
    """Replace fields of the envelope itself; whatever was signed stays as it was."""
    return json.dumps(json.loads(raw) | changes, separators=(",", ":")).encode()


def with_signature(raw: bytes, **changes: Any) -> bytes:
    """Replace fields of the envelope's one signature."""
    (signature,) = json.loads(raw)["signatures"]
    return with_envelope(raw, signatures=[signature | changes])
