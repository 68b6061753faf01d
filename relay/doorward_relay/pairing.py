"""Pairing: how a relay comes to belong to one project, decided without touching the world.

``install`` makes an offer (a one-time token, kept as its SHA-256); the console shows the token once, with what the relay
is to pin. The offer ends with its use, after an hour, or at the tenth wrong try. Called by ``runtime`` and ``install``.
protocol.md §7.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from doorward_protocol import fields
from doorward_protocol.fields import Malformed
from doorward_protocol.ids import ProjectId, RelayId, is_id
from doorward_protocol.joining import token_digest

OFFER_MS: Final = 3_600_000
WRONG_TRIES: Final = 10


@dataclass(frozen=True, slots=True)
class PairingOffer:
    """An open offer.

    Attributes:
        token_sha256: 64 hex digits.
        made_at: ms.
        wrong: tries so far that showed another token.
    """

    token_sha256: str
    made_at: int
    wrong: int = 0


@dataclass(frozen=True, slots=True)
class Pinned:
    """What the relay holds of its console from the pairing on; all of it is public.

    Attributes:
        client_certificate: PEM of the one certificate that may use the control API.
        grant_key: Ed25519, signs grants.
        record_key: Ed25519, signs receipts.
        tunnel_ca: SSH public key line that certifies devices' tunnel keys.
    """

    relay: RelayId
    project: ProjectId
    epoch: int
    client_certificate: str
    grant_key: str
    record_key: str
    tunnel_ca: str


@dataclass(frozen=True, slots=True)
class PairingRequest:
    """What a console shows."""

    token: str = field(repr=False)
    pinned: Pinned


def request_from_document(source: Mapping[str, Any]) -> PairingRequest:
    """Read the body of ``POST /v1/pair``; raises Malformed."""
    pinned = Pinned(
        relay=RelayId(_id(source, "relay", "r")),
        project=ProjectId(_id(source, "project", "p")),
        epoch=fields.integer(source, "epoch"),
        client_certificate=fields.text(source, "client_certificate", longest=16_384),
        grant_key=fields.text(source, "grant_key", longest=64),
        record_key=fields.text(source, "record_key", longest=64),
        tunnel_ca=_ssh_key(source, "tunnel_ca"),
    )
    return PairingRequest(fields.text(source, "token", longest=64), pinned)


def judge_token(offer: PairingOffer | None, token: str, *, now: int) -> str | PairingOffer | None:
    """Answer whether ``token`` takes up ``offer``.

    Returns:
        None when it does; the offer with one more wrong try when the token is another; else the reason code.
    """
    if offer is None or offer.wrong >= WRONG_TRIES or not 0 <= now - offer.made_at < OFFER_MS:
        return "relay.bad-token"
    if hmac.compare_digest(offer.token_sha256, token_digest(token)):
        return None
    return replace(offer, wrong=offer.wrong + 1)


def _id(source: Mapping[str, Any], name: str, kind: str) -> str:
    value = fields.text(source, name, longest=18)
    if not is_id(kind, value):
        raise Malformed(name, f"an id of kind {kind}")
    return value


def _ssh_key(source: Mapping[str, Any], name: str) -> str:
    """Read one public key line: sshd would take every line of its file as a CA."""
    value = fields.text(source, name, longest=1024).strip()
    if not value.isprintable() or not value.startswith("ssh-ed25519 ") or len(value.split(" ")) < 2:
        raise Malformed(name, "one ssh-ed25519 public key line")
    return value
