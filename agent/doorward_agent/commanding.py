"""Commands: what becomes of the one that this device took last, as effects (protocol.md §4, "Body of part ``command``").

Part of ``runtime`` and called on its thread alone. The runner runs it and writes down how it went; here is only known whether
that has been told to the console. After a restart of agent or machine the runner is asked, never the hook run again. A reboot
that its hook calls done is believed when the boot has changed.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Protocol

from doorward_protocol.commands import AGENT_VERBS, Outcome, RunCommand
from doorward_protocol.fields import Malformed
from doorward_protocol.ids import CommandId
from doorward_protocol.orders import Order
from doorward_protocol.rehearsal import Rehearsed, rehearsal_from_arguments, result_from_rehearsed
from doorward_protocol.targets import TEST, forward_test_from

from doorward_agent import effects as do
from doorward_agent.effects import Effect
from doorward_agent.events import CommandTold, RehearsalTold
from doorward_agent.policy import STALE

COMES_BACK: Final = "reboot"
LOOK_AGAIN_MS: Final = 2_000
LEAVES_WITHIN_MS: Final = 120_000
"""A machine that has said that it restarts ends its services first, each with its own patience."""
MOST_SILENT: Final = 30
"""So often in a row the runner may say nothing, a minute, before the command counts as one that never began."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The last command.

    Attributes:
        state: ``begun``; ``lacking`` the order signed again, for the runner refused its nonce or was busy; ``leaving`` this boot; ``done`` and told.
        boot: the one in which it was taken.
        digest: of its order.
    """

    command: str
    verb: str
    boot: str
    state: str
    digest: str

    @property
    def is_ours(self) -> bool:
        """Whether the agent does it itself, and the runner knows nothing of it."""
        return self.verb in AGENT_VERBS


class Save(Protocol):
    """Keeps a document; a full disk stops nothing here, for the runner's own memory is what lets nothing run twice."""

    def __call__(self, name: str, document: Mapping[str, Any], /, *, durable: bool) -> None: ...


class Commands:
    """The device's last command; whether its order is lacking is reported, all else decided here."""

    def __init__(self, known: Mapping[str, Any] | None, save: Save, boot: str) -> None:
        """Take up what an earlier agent wrote down (``known``)."""
        self._taken = None if known is None else Taken(**known)
        self._save, self._boot = save, boot
        self._silent = 0
        self._spare: bytes | None = None

    def needs_order(self, held: str | None) -> bool:
        """Tell whether the accepted order of digest ``held`` has to be signed again.

        Also one of which nothing more is known: the agent was ended between accepting it and beginning it.
        """
        if held is None:
            return False
        return self._taken is None or self._taken.digest != held or self._taken.state == "lacking"

    def resume(self, now_ms: int) -> tuple[Effect, ...]:
        """Go on after a start of the agent: by the boot alone where it was to end, else by the runner's word."""
        taken = self._taken
        if taken is None or taken.state in {"done", "lacking"}:
            return ()
        if taken.state == "leaving":
            return self._gone(taken) if taken.boot != self._boot else self._leave(taken, now_ms)
        return self._end(taken, Outcome("command.interrupted")) if taken.is_ours else (do.LookAtCommand(),)

    def take(self, body: RunCommand, order: Order, raw: bytes) -> tuple[Effect, ...]:
        """Begin an accepted command; one that has begun already is handed on again where the runner lacks it, or will say so."""
        if self._taken is not None and self._taken.digest == order.digest:
            if self._taken.state != "lacking":
                self._spare = raw if self._taken.state == "begun" else None
                return ()
            self._keep("begun")
            return (do.RunCommand(body.command, raw),)
        self._silent, self._spare = 0, None
        self._taken = taken = Taken(body.command, body.verb, self._boot, "begun", order.digest)
        self._keep("begun")
        data = {"command": body.command, "verb": body.verb, "order": order.id}
        begun = do.WriteRecord("command.begun", None, data)
        if taken.is_ours:
            return (begun, *self._rehearse(taken, body))
        return (begun, do.RunCommand(body.command, raw))

    def _rehearse(self, taken: Taken, body: RunCommand) -> tuple[Effect, ...]:
        """Begin a rehearsal, and keep its way for who rehearses while no agent runs; or test a forward."""
        if body.verb == TEST:
            return (do.Rehearse(body.command, forward_test_from(body.arguments)),)
        try:
            rehearsal = rehearsal_from_arguments(body.arguments)
        except Malformed:
            return self._end(taken, Outcome("rehearsal.malformed"))
        self._save("rehearsal-route", body.arguments, durable=True)
        return (do.Rehearse(body.command, rehearsal),)

    def rehearsed(self, event: RehearsalTold) -> tuple[Effect, ...]:
        """Show how far a rehearsal has come, and tell its end, or a test's."""
        taken = self._taken
        if taken is None or taken.state != "begun" or event.command != taken.command:
            return ()
        if isinstance(event.rehearsed, Rehearsed):
            shown = {"command": event.command, **result_from_rehearsed(event.rehearsed)}
            self._save("rehearsal", {**shown, "is_over": event.outcome is not None}, durable=False)
        return () if event.outcome is None else self._end(taken, event.outcome)

    def told(self, event: CommandTold, now_ms: int) -> tuple[Effect, ...]:
        """Take the runner's word on the command."""
        taken = self._taken
        if taken is None or taken.state != "begun" or taken.is_ours:
            return ()
        if event.code is not None:
            return self._not_told(taken, event.code, now_ms)
        if event.command != taken.command:  # the runner was asked, and never had it
            return self._end(taken, Outcome("runner.unavailable"))
        if event.outcome is None:
            return (do.StartTimer(do.COMMAND, now_ms + LOOK_AGAIN_MS),)
        if taken.verb == COMES_BACK and event.outcome.code is None and taken.boot == self._boot:
            return self._leave(taken, now_ms)
        return self._end(taken, event.outcome)

    def _not_told(self, taken: Taken, code: str, now_ms: int) -> tuple[Effect, ...]:
        """Have the order signed again unless that was done meanwhile, wait for a runner that is silent, or take its no."""
        if code == STALE and self._spare is not None:  # the console sends no third for half a minute
            spare, self._spare = self._spare, None
            return (do.RunCommand(CommandId(taken.command), spare),)
        if code in {STALE, "runner.busy"}:  # refused before anything was begun
            self._keep("lacking")
            return ()
        if code == "runner.unavailable" and self._silent < MOST_SILENT:
            self._silent += 1
            return (do.StartTimer(do.COMMAND, now_ms + LOOK_AGAIN_MS),)
        return self._end(taken, Outcome(code))

    def due(self) -> tuple[Effect, ...]:
        """Look again; who should have left by now and is still here has not restarted."""
        taken = self._taken
        if taken is None or taken.state not in {"begun", "leaving"}:
            return ()
        if taken.state == "leaving":
            return self._end(taken, Outcome("command.no-effect"))
        return (do.LookAtCommand(),)

    def _leave(self, taken: Taken, now_ms: int) -> tuple[Effect, ...]:
        if taken.state != "leaving":
            self._keep("leaving")
        return (do.StartTimer(do.COMMAND, now_ms + LEAVES_WITHIN_MS),)

    def _gone(self, taken: Taken) -> tuple[Effect, ...]:
        return self._end(taken, Outcome(None))

    def _end(self, taken: Taken, outcome: Outcome) -> tuple[Effect, ...]:
        """Tell how it went. The record stands before the note that it was told: told twice does no harm, never does."""
        data: dict[str, Any] = {"command": taken.command, "verb": taken.verb, **outcome._asdict()}
        return (do.WriteRecord("command.done", None, data), do.NoteCommandTold(), do.StopTimer(do.COMMAND))

    def note_told(self) -> None:
        """Write down that the console need not be told again."""
        self._keep("done")

    def _keep(self, state: str) -> None:
        if self._taken is None:
            raise AssertionError("there is no command")
        self._taken = replace(self._taken, state=state)
        self._save("command", asdict(self._taken), durable=True)
