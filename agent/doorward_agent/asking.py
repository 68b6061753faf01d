"""Asking the console: nonces, the counter, and asking again whenever what is reported has changed.

Part of ``runtime`` and called on its thread alone: it joins the pure ``nonces`` and ``reporting`` with broker and clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from doorward_protocol.asks import Ask, bytes_from_ask
from doorward_protocol.ids import DeviceId
from doorward_protocol.records import Head

from doorward_agent import nonces
from doorward_agent.contracts import Broker, Clock, System
from doorward_agent.nonces import Nonces
from doorward_agent.reporting import Report

AGAIN_MS: Final = 10_000
"""A refused nonce triggers one ask in this time, so that a flood of stale orders makes no flood of asks."""


@dataclass(frozen=True, slots=True)
class JournalReport:
    """The oldest and the newest record."""

    first: int
    head: Head


class Asking:
    """Makes asks. ``count`` begins at the boot-time clock's milliseconds, so a restarted agent never counts back."""

    def __init__(self, device: DeviceId, version: str, clock: Clock, system: System) -> None:
        self._device = device
        self._version = version
        self._clock = clock
        self._system = system
        self._count = clock.boottime_ms()
        self._nonces = Nonces(system.nonce(), clock.boottime_ms())
        self._told: Report | None = None
        self._again_from_ms = 0

    def fresh_nonces(self) -> Mapping[str, int]:
        """Give the nonces that count now, the newest first, each with when it was made."""
        self._nonces = nonces.renewed(self._nonces, self._clock.boottime_ms(), self._system.nonce())
        return self._nonces.fresh

    def again_at(self) -> int:
        """Give when the ask after a refused nonce may go out, and count it as gone."""
        at_ms = max(self._clock.boottime_ms(), self._again_from_ms)
        self._again_from_ms = at_ms + AGAIN_MS
        return at_ms

    def has_changed(self, report: Report) -> bool:
        return report != self._told

    def ask(self, broker: Broker, report: Report, journal: JournalReport) -> None:
        """Send an ask."""
        self._told = report
        self._count += 1
        ask = Ask(
            device=self._device,
            boot=self._system.boot,
            count=self._count,
            nonce=next(iter(self.fresh_nonces())),
            runner_nonce=report.runner_nonce,
            clock_at=self._clock.wall_ms(),
            uptime_s=self._clock.boottime_ms() // 1000,
            agent=self._version,
            facts=self._system.facts(),
            door=report.door,
            settings=report.settings,
            journal_first=journal.first,
            journal=journal.head,
            command=report.command,
            verbs=report.verbs,
            wish=report.wish,
            forwards=self._system.forwards,
            knows_hooks=report.knows_hooks,
        )
        broker.publish("ask", bytes_from_ask(ask))
