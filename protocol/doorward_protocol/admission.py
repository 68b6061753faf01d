"""Judge an order: whether it may be obeyed, here and now (protocol.md §4, "How an order is judged").

The one door through which every order passes, twice: once at the agent, once at the runner, each with what it holds
itself. The eight questions are asked in their written order and the first no ends the judging, because each question
trusts what the one before it established: nothing is parsed that is too large, nothing inside the payload is
looked at before its signature holds, no counter is compared for an order that is not fresh.

An order that passed is a ``Verified``; nothing else makes one, so code that needs an order which may be obeyed says so in its
type. A no is a value, not an exception: refusing is everyday work. This module loads the signature library; whoever
stays small imports it at the first order.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from doorward_protocol.commands import HOOK_VERBS, VERBS, RunCommand
from doorward_protocol.digests import Digest
from doorward_protocol.envelope import NotAnEnvelope, decode
from doorward_protocol.fields import Malformed
from doorward_protocol.ids import DeviceId, OrderId, ProjectId, SessionId
from doorward_protocol.orders import Forward, OpenDoor, Order, UnknownVersion, order_from_payload
from doorward_protocol.revisions import NEVER, Revision, is_too_far_ahead
from doorward_protocol.signature import KeyRing, SignatureRefused
from doorward_protocol.ssh_keys import is_plain_key


class DoorPolicy(NamedTuple):
    """What this device allows at all, whoever signs: from its own configuration.

    Attributes:
        longest_s: the longest session, in seconds.
        login_user: the only user who may log in at the door.
        targets: what an order's first forward, the door's own, may lead to. Named ones after it are judged one by one by whoever
            connects to them (the agent): what it does not allow is left out, and the door opens all the same.
    """

    longest_s: int
    login_user: str
    targets: tuple[str, ...] = ("ssh",)


class Held(NamedTuple):
    """The last accepted revision of one part, and its digest."""

    revision: Revision = NEVER
    digest: Digest | None = None


class Standing(NamedTuple):
    """What the judge holds: who it is, what it pinned, what it has seen.

    Attributes:
        nonces: its own fresh nonces, at most two.
        held: by part; a part that is missing was never ordered.
        ended: sessions written down as ended.
    """

    device: DeviceId
    project: ProjectId
    keys: KeyRing
    nonces: Sequence[str]
    held: Mapping[str, Held]
    ended: frozenset[SessionId]
    policy: DoorPolicy
    judges_as_runner: bool = False


class Verified:
    """An order that may be obeyed. Made by ``judge`` alone.

    Attributes:
        is_repeat: equal revision and digest: reconcile.
    """

    __slots__ = ("is_repeat", "order")

    def __init__(self, order: Order, *, is_repeat: bool, made_by_judge: object = None) -> None:
        if made_by_judge is not _SEAL:
            raise TypeError("only judge() verifies orders")
        self.order = order
        self.is_repeat = is_repeat


class Refused(NamedTuple):
    """A no: a reason code, and what of the order could be trusted enough to name.

    Attributes:
        code: one of ``reasons``, starting with ``order.``.
        order: the order's id, from step 5 on (before it, nothing in it is believed).
        offered: the revision that it carried, from step 7 on.
    """

    code: str
    order: OrderId | None = None
    offered: Revision | None = None
    part: str | None = None


_SEAL: Final = object()


def judge(raw: bytes, standing: Standing) -> Verified | Refused:
    """Answer whether the order in ``raw`` may be obeyed by the one who holds ``standing``."""
    try:
        payload = standing.keys.verify(decode(raw, expected="order"))
    except (NotAnEnvelope, SignatureRefused) as refused:
        return Refused(f"order.{refused.code}")
    try:
        order = order_from_payload(payload)
    except UnknownVersion:
        return Refused("order.unknown-version")
    except Malformed:
        return Refused("order.malformed")
    return _judge_order(order, standing)


def _judge_order(order: Order, standing: Standing) -> Verified | Refused:
    if order.device != standing.device or order.project != standing.project:
        return Refused("order.other-device", order.id)
    nonce = order.runner_nonce if standing.judges_as_runner else order.nonce
    if nonce not in standing.nonces:
        return Refused("order.stale-nonce", order.id)
    held = standing.held.get(order.part, Held())
    code = _revision_refusal(order, held) or _policy_refusal(order, standing)
    if code is not None:
        return Refused(code, order.id, order.revision, order.part)
    return Verified(order, is_repeat=order.revision == held.revision, made_by_judge=_SEAL)


def _revision_refusal(order: Order, held: Held) -> str | None:
    if order.revision < held.revision:
        return "order.lower-revision"
    if order.revision == held.revision:
        return None if order.digest == held.digest else "order.other-digest"
    return "order.too-far-ahead" if is_too_far_ahead(order.revision, held.revision) else None


def _policy_refusal(order: Order, standing: Standing) -> str | None:
    if isinstance(order.body, RunCommand):
        return _command_refusal(order.body, order.issued_at, HOOK_VERBS if standing.judges_as_runner else VERBS)
    if not isinstance(order.body, OpenDoor):
        return None
    door, policy = order.body, standing.policy
    if door.session in standing.ended:
        return "order.session-ended"
    if door.ends_at <= order.issued_at:
        return "order.past-its-end"
    if door.duration_s > policy.longest_s or door.ends_at - order.issued_at > policy.longest_s * 1000:
        return "order.too-long"
    return None if _is_allowed(door, policy) else "order.not-allowed"


def _command_refusal(command: RunCommand, issued_at: int, verbs: Sequence[str]) -> str | None:
    if command.expires_at <= issued_at:
        return "order.past-its-end"
    return None if command.verb in verbs else "order.not-allowed"


def _forwards_fit(forwards: Sequence[Forward], policy: DoorPolicy) -> bool:
    """Tell whether the first forward is the door's own, and no other passes for it or shares its name or port."""
    first, *named = forwards
    names, ports = {one.name for one in forwards}, {one.port for one in forwards}
    are_apart = len(names) == len(ports) == len(forwards)
    return first.target in policy.targets and are_apart and all(one.target not in policy.targets for one in named)


def _is_allowed(door: OpenDoor, policy: DoorPolicy) -> bool:
    return (
        door.login.user == policy.login_user
        and _forwards_fit(door.forwards, policy)
        and all(is_plain_key(line) for line in door.login.authorized_keys)
        and all(is_plain_key(line) for relay in door.relays for line in relay.host_keys)
        and door.banner.isalnum()
        and door.banner.isascii()
    )
