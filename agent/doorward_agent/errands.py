"""What is done besides the door: the last command and the last settings, which go their ways side by side.

Part of ``runtime`` and called on its thread alone; joins ``commanding`` and ``settling``.
"""

from typing import Final

from doorward_protocol.asks import CommandReport
from doorward_protocol.commands import AGENT_VERBS, RunCommand
from doorward_protocol.orders import ApplySettings, ConfirmSettings, Order
from doorward_protocol.rehearsal import VERB

from doorward_agent import effects as do
from doorward_agent.commanding import Commands
from doorward_agent.effects import Effect
from doorward_agent.events import CommandTold, RehearsalTold, RehearsalWished, SettingsTold
from doorward_agent.holdings import Holdings
from doorward_agent.orders import Orders
from doorward_agent.settling import Settling, Standing

TIMERS: Final = (do.COMMAND, do.SETTINGS, do.WISH)
WISH_LASTS_MS: Final = 60_000
"""Whoever wishes for something at the device waits no longer for it."""
WISH_AGAIN_MS: Final = 5_000
"""A console that grants no second wish within seconds, or did not hear the first, is told again."""


class Errands:
    """The last command and the last settings, the hooks that this device has, and what somebody at it wishes for."""

    def __init__(self, orders: Orders, boot: str) -> None:
        """Take up what an earlier agent wrote down."""
        self._commands = Commands(orders.load("command"), orders.save, boot)
        self._settling = Settling(orders.load("settings"), orders.save)
        self._verbs: tuple[str, ...] | None = None
        self._known: tuple[str, ...] = tuple((orders.load("verbs") or {}).get("verbs", ()))
        self._save = orders.save
        self.wish: str | None = None
        self._wished_ms = 0

    @property
    def offered(self) -> tuple[str, ...]:
        """Name what this device can be asked for: its hooks, and what the agent does itself.

        Until the runner has said it they are those of before: what is asked in that moment would be refused for lack of a hook.
        """
        return (*(self._known if self._verbs is None else self._verbs), *AGENT_VERBS)

    @property
    def knows_hooks(self) -> bool:
        """Tell whether the runner has said which hooks there are."""
        return self._verbs is not None

    @property
    def _has_hook(self) -> bool | None:
        """Tell whether settings are tried here; None until the runner has said which hooks there are."""
        return None if self._verbs is None else "settings-apply" in self._verbs

    def know(self, verbs: tuple[str, ...], kept: Holdings) -> tuple[Effect, ...]:
        """Take the runner's word for the hooks that there are."""
        self._verbs = verbs
        if verbs != self._known:
            self._known = verbs
            self._save("verbs", {"verbs": list(verbs)}, durable=False)
        return self._settling.know(kept.part("settings"), has_hook=bool(self._has_hook))

    def standing(self, kept: Holdings) -> Standing:
        """Say how the accepted settings stand."""
        return self._settling.reported(kept.part("settings"), has_hook=self._has_hook)

    def report(self, kept: Holdings) -> CommandReport:
        """Say which command was taken last, and whether its order is lacking."""
        revision, digest = kept.part("command")
        return CommandReport(revision, digest, self._commands.needs_order(digest))

    def resume(self, now_ms: int) -> tuple[Effect, ...]:
        """Go on after a start of the agent."""
        return (*self._commands.resume(now_ms), *self._settling.resume())

    def greet(self) -> tuple[Effect, ...]:
        """Ask how the settings stand, before the console is told: much may have happened while nobody was there."""
        return self._settling.resume()

    def take(self, order: Order, raw: bytes) -> tuple[Effect, ...]:
        """Begin what an accepted order asks for, unless it is the door's."""
        match order.body:
            case RunCommand() as command:
                self.wish = None if self.wish == command.verb else self.wish
                return self._commands.take(command, order, raw)
            case ApplySettings():
                return self._settling.take(order, raw, has_hook=self._has_hook)
            case ConfirmSettings():
                return self._settling.confirm(raw)
            case _:
                return ()

    def told(
        self, event: CommandTold | RehearsalTold | RehearsalWished | SettingsTold, now_ms: int
    ) -> tuple[Effect, ...]:
        """Take the word of whoever does it; a wish goes with the asks until it is granted or a minute has passed."""
        match event:
            case CommandTold():
                return self._commands.told(event, now_ms)
            case RehearsalTold():
                return self._commands.rehearsed(event)
            case RehearsalWished():
                self.wish, self._wished_ms = VERB, now_ms
                return (do.StartTimer(do.WISH, now_ms + WISH_AGAIN_MS),)
            case SettingsTold():
                return self._settling.told(event, now_ms)

    def due(self, timer: str, now_ms: int) -> tuple[Effect, ...]:
        """Look again, when a timer of ``TIMERS`` is due."""
        if timer == do.WISH:
            return self._wish_again(now_ms)
        return self._commands.due() if timer == do.COMMAND else (do.LookAtSettings(),)

    def _wish_again(self, now_ms: int) -> tuple[Effect, ...]:
        """Tell a wish that was not granted yet once more, until its time is over."""
        if self.wish is None or now_ms >= self._wished_ms + WISH_LASTS_MS:
            self.wish = None
            return ()
        return (do.SendAsk(), do.StartTimer(do.WISH, now_ms + WISH_AGAIN_MS))

    def note_told(self) -> None:
        """Write down that the console need not be told again how the last command went."""
        self._commands.note_told()
