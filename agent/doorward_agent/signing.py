"""Everything that signs or verifies, by the OpenSSL that is loaded for TLS; ``cryptography`` is the way where that cannot be used.

The package would cost an agent 8 MiB once it has obeyed an order, so nothing of the agent that runs may import it at its top, and what is
needed from the first order on is imported then; tests look at real processes. The runner judges anew, by ``cryptography``.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from doorward_protocol.envelope import NotAnEnvelope, decode
from doorward_protocol.fields import Malformed
from doorward_protocol.orders import UnknownVersion
from doorward_protocol.receipts import Receipt, receipt_from_payload

from doorward_agent.holdings import Holdings
from doorward_agent.identity import Identity

if TYPE_CHECKING:
    from doorward_protocol.admission import Refused, Verified
    from doorward_protocol.signature import Ed25519, KeyRing, SigningKey


class Signing:
    """Judges orders, reads receipts, seals records; holds the device's key once it is needed."""

    def __init__(
        self,
        identity: Identity,
        longest_s: int,
        login_user: str,
        seed: Callable[[], bytes],
        loaded: "Callable[[], Ed25519 | None]" = lambda: None,
    ) -> None:
        """Keep what will be needed; ``seed`` reads the identity key's 32 secret bytes, ``loaded`` finds who computes instead of the package."""
        self._identity = identity
        self._longest_s = longest_s
        self._login_user = login_user
        self._seed = seed
        self._loaded = loaded
        self._own: SigningKey | None = None
        self._grant_keys: KeyRing | None = None
        self._record_keys: KeyRing | None = None

    @property
    def is_loaded(self) -> bool:
        return self._own is not None or self._grant_keys is not None or self._record_keys is not None

    def rubbish(self, raw: bytes) -> str | None:
        """Give the reason code of what is no order's envelope at all, which takes no signature library to see."""
        try:
            decode(raw, expected="order")
        except NotAnEnvelope as refused:
            return f"order.{refused.code}"
        return None

    def judge(self, raw: bytes, nonces: Sequence[str], holdings: Holdings) -> "Verified | Refused":
        """Answer whether an order may be obeyed."""
        from doorward_protocol import admission
        from doorward_protocol.signature import KeyRing

        if self._grant_keys is None:
            self._grant_keys = KeyRing(self._identity.grant_keys, self._loaded())
        standing = admission.Standing(
            device=self._identity.device,
            project=self._identity.project,
            keys=self._grant_keys,
            nonces=nonces,
            held={name: admission.Held(*held) for name, held in holdings.parts.items()},
            ended=frozenset(holdings.ended),
            policy=admission.DoorPolicy(self._longest_s, self._login_user),
        )
        return admission.judge(raw, standing)

    def seal(self, payload: bytes) -> bytes:
        """Sign a record with the device's key."""
        from doorward_protocol.signature import SigningKey

        if self._own is None:
            self._own = SigningKey.from_raw(self._seed(), self._loaded())
        return self._own.seal("record", payload)

    def claimed_receipt(self, raw: bytes) -> Receipt | None:
        """Read what a receipt claims, signed by whomever: good for nothing but to see that it would change nothing."""
        try:
            return receipt_from_payload(decode(raw, expected="receipt").payload)
        except (NotAnEnvelope, UnknownVersion, Malformed):
            return None

    def receipt(self, raw: bytes) -> Receipt | None:
        """Read a receipt for this device that a pinned record key signed; anything else is None."""
        try:
            envelope = decode(raw, expected="receipt")
        except NotAnEnvelope:
            return None
        from doorward_protocol.signature import KeyRing, SignatureRefused

        if self._record_keys is None:
            self._record_keys = KeyRing(self._identity.record_keys, self._loaded())
        try:
            receipt = receipt_from_payload(self._record_keys.verify(envelope))
        except (SignatureRefused, UnknownVersion, Malformed):
            return None
        is_ours = receipt.project == self._identity.project and receipt.author == self._identity.author
        return receipt if is_ours else None
