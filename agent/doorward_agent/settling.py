"""Settings on their way: handed to the runner, on trial, kept or put back; as effects (protocol.md §4, "Body of part ``settings``").

Part of ``runtime`` and called on its thread alone. The runner tries, waits and puts back, also without us; here is only known
how it stood last, so that each change is a record once and the ask says it. The console takes an ask that says "trying" for a
sign of life under the new settings, and may confirm them: after each connection anew the runner has to say it first. A device
without the hooks keeps the document and no more.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, TypeAlias

from doorward_protocol.orders import Order
from doorward_protocol.revisions import Revision

from doorward_agent import effects as do
from doorward_agent.commanding import Save
from doorward_agent.effects import Effect
from doorward_agent.events import SettingsTold
from doorward_agent.policy import STALE

LOOK_AGAIN_MS: Final = 2_000
FAILED_AGAIN_MS: Final = 60_000
Held: TypeAlias = tuple[Revision, str | None]
"""Revision and digest of an accepted order; no digest before the first."""
AT_REST: Final = ("none", "confirmed", "reverted")
_VERBS: Final = {
    "trying": "settings.trying",
    "confirmed": "settings.applied",
    "reverted": "settings.reverted",
    "failed": "settings.failed",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """How the last settings stand.

    Attributes:
        state: as the runner says it; ``none`` where it had none.
        lacks: the order (``settings`` or ``confirm``) has to be signed again: the runner refused its nonce, or was busy.
    """

    epoch: int = 0
    revision: int = 0
    digest: str | None = None
    state: str = "none"
    code: str | None = None
    lacks: str = ""

    @property
    def mark(self) -> Held:
        """Name the order that it is about."""
        return Revision(self.epoch, self.revision), self.digest


class Settling:
    """The last settings; ``reported`` is, and all else decided here."""

    def __init__(self, known: Mapping[str, Any] | None, save: Save) -> None:
        """Take up what an earlier agent wrote down (``known``)."""
        self.standing = Standing() if known is None else Standing(**known)
        self._save = save
        self._spare: bytes | None = None
        self._early: tuple[Order, bytes] | None = None
        self._is_doubted = False

    def reported(self, held: Held, *, has_hook: bool | None) -> Standing:
        """Say how the accepted order ``held`` stands.

        One of which nothing more is known has to be signed again: the agent was ended between accepting it and handing it on,
        or held it before there was a hook. Until the runner has said whether there is one, it is on its way; so is a trial of
        which it has not said since we connected that it goes on.
        """
        is_only_held = self.standing.state == "none"
        if held[1] is None or (held == self.standing.mark and not (is_only_held and has_hook)):
            is_hearsay = self._is_doubted and self.standing.state == "trying"
            return replace(self.standing, state="applying") if is_hearsay else self.standing
        return Standing(*held[0], held[1], "applying", None, "settings" if has_hook else "")

    def resume(self) -> tuple[Effect, ...]:
        """Go on after a start, and after each connection: ask the runner about what was not at rest."""
        self._is_doubted = True
        return () if self.standing.state in AT_REST else (do.LookAtSettings(),)

    def know(self, held: Held, *, has_hook: bool) -> tuple[Effect, ...]:
        """Do what had to wait for the runner's word on whether there is a hook; the order that came before it is good for it now."""
        early, self._early = self._early, None
        if not has_hook:
            return self.hold(held)
        return () if early is None else self.take(*early, has_hook=True)

    def hold(self, held: Held) -> tuple[Effect, ...]:
        """Say once that the accepted document is held, which is all there is to do where the device has no hook for it."""
        if held[1] is None or held == self.standing.mark:
            return ()
        self._keep(Standing(*held[0], held[1]))
        return (do.WriteRecord("settings.applied", None, {"digest": held[1]}),)

    def take(self, order: Order, raw: bytes, *, has_hook: bool | None) -> tuple[Effect, ...]:
        """Begin a trial; without a hook only hold the document, and keep the order while it is not known whether there is one."""
        mark = (order.revision, order.digest)
        if has_hook is None:
            self._early = (order, raw)
            return ()
        if not has_hook:
            return self.hold(mark)
        is_known = self.standing.mark == mark and self.standing.state != "none"
        if is_known and self.standing.lacks != "settings":
            self._spare = raw
            return ()
        self._spare = None
        self._keep(Standing(*order.revision, order.digest, "applying"))
        begun = () if is_known else (do.WriteRecord("settings.begun", None, self._facts()),)
        return (*begun, do.HandSettings("settings", raw))

    def confirm(self, raw: bytes) -> tuple[Effect, ...]:
        """Hand the console's confirmation on."""
        self._keep(replace(self.standing, lacks=""))
        return (do.HandSettings("confirm", raw),)

    def told(self, event: SettingsTold, now_ms: int) -> tuple[Effect, ...]:
        """Take the runner's word; each change of the state is a record."""
        was = self.standing
        if event.refusal is not None:
            return self._refused(event, now_ms)
        self._is_doubted = False
        if (Revision(event.epoch, event.revision), event.digest) != was.mark:
            self._keep(replace(was, lacks="settings"))  # our order never reached it; signed again, it tries it or tells
            return ()
        self._keep(replace(was, state=event.state, code=event.code, lacks=""))
        verb = _VERBS.get(event.state)
        records = (
            (do.WriteRecord(verb, None, {**self._facts(), "said": event.said}),)
            if verb and event.state != was.state
            else ()
        )
        return (*records, *self._look_later(now_ms))

    def _refused(self, event: SettingsTold, now_ms: int) -> tuple[Effect, ...]:
        """Have the order signed again unless that was done meanwhile, wait for a runner that is silent, or take its no."""
        if event.refusal == STALE and event.asked == "settings" and self._spare is not None:
            spare, self._spare = self._spare, None  # the console sends no third for half a minute
            return (do.HandSettings("settings", spare),)
        if event.refusal in {STALE, "runner.busy"}:
            self._keep(replace(self.standing, lacks=event.asked))
            return self._look_later(now_ms)
        if event.asked != "settings" or event.refusal == "runner.unavailable":
            return self._look_later(now_ms)
        self._keep(replace(self.standing, state="reverted", code=event.refusal))
        return (do.WriteRecord("settings.reverted", None, {**self._facts(), "said": ""}),)

    def _look_later(self, now_ms: int) -> tuple[Effect, ...]:
        if self.standing.state in AT_REST:
            return (do.StopTimer(do.SETTINGS),)
        pause_ms = FAILED_AGAIN_MS if self.standing.state == "failed" else LOOK_AGAIN_MS
        return (do.StartTimer(do.SETTINGS, now_ms + pause_ms),)

    def _facts(self) -> dict[str, Any]:
        now = self.standing
        return {"epoch": now.epoch, "revision": now.revision, "digest": now.digest, "code": now.code}

    def _keep(self, standing: Standing) -> None:
        if standing != self.standing:
            self.standing = standing
            self._save("settings", asdict(standing), durable=True)
