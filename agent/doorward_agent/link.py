"""The link to the broker: the small second machine. Dials, waits with jitter, dials again; knows nothing of doors."""

from typing import Final

from doorward_agent import effects as do
from doorward_agent import policy
from doorward_agent.effects import Effect
from doorward_agent.events import BrokerConnected, BrokerLost, LinkEvent, StopRequested, TimerDue
from doorward_agent.machine import built
from doorward_agent.states import LINK_TABLE, LinkState


class LinkMachine:
    """The link to the broker. ``generation`` numbers the connections, so that an old one's end is not taken for a new one's."""

    state: LinkState

    def __init__(self) -> None:
        self.generation = 0
        self._failures = 0
        self._online_from_ms: int | None = None
        self._effects: list[Effect] = []
        self._now_ms = 0
        self._chance = 0.0
        self._machine: Final = built(self, LinkState, LINK_TABLE, "OFFLINE")

    def start(self, now_ms: int) -> tuple[Effect, ...]:
        return self._dispatch("started", now_ms, 0.0)

    def step(self, event: LinkEvent, now_ms: int, chance: float) -> tuple[Effect, ...]:
        """Answer an event of the link with effects."""
        match event:
            case BrokerConnected(generation):
                return self._dispatch("connected", now_ms, chance) if generation == self.generation else ()
            case BrokerLost(generation):
                return self._dispatch("lost", now_ms, chance) if generation == self.generation else ()
            case TimerDue(name):
                return self._dispatch("retry_due", now_ms, chance) if name == do.LINK_RETRY else ()
            case StopRequested():
                return self._dispatch("stopped", now_ms, chance)

    def _dispatch(self, trigger: str, now_ms: int, chance: float) -> tuple[Effect, ...]:
        self._effects, self._now_ms, self._chance = [], now_ms, chance
        self._machine.dispatch(trigger)
        return tuple(self._effects)

    def _dial(self) -> None:
        self.generation += 1
        self._effects.append(do.ConnectBroker(self.generation))

    def _greet(self) -> None:
        self._online_from_ms = self._now_ms
        self._effects.append(do.GreetConsole())

    def _wait(self) -> None:
        was_steady = self._online_from_ms is not None and self._now_ms - self._online_from_ms >= policy.STEADY_MS
        self._failures = 0 if was_steady else self._failures + 1
        self._online_from_ms = None
        at_ms = self._now_ms + policy.retry_delay_ms(self._failures, self._chance)
        self._effects.append(do.StartTimer(do.LINK_RETRY, at_ms))

    def _leave(self) -> None:
        self._effects += [do.StopTimer(do.LINK_RETRY), do.DisconnectBroker()]
