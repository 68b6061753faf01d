"""The links to all paired relays: one is made for each, made again when its place changes, ended when it is removed."""

import queue
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from doorward_console.edges.relay_client import ControlIdentity, RelayClient, RelayPlace
from doorward_console.fleet.relays import PairedRelay
from doorward_console.keys.x509 import Issued
from doorward_console.worker.events import AskVersion, Call, Event
from doorward_console.worker.relay_link import RelayLink

TELL_S: Final = 5.0
"""How long a thread waits for room in the queue: the broker's has to go on answering the broker."""


STOP_S: Final = 1.0
"""How long a worker that is told to stop waits for its relays' threads."""


class ControlKeys(Protocol):
    """Gives a project's client certificate at relays."""

    def control(self, project: str) -> Issued: ...


class RelayLinks:
    """Relays by id, and the one queue into which all threads of the worker report."""

    def __init__(self, keys: ControlKeys, after_of: Callable[[str], int], most_events: int) -> None:
        """Prepare; ``after_of`` names the last record of a relay that is stored without a gap."""
        self.events: queue.Queue[Event] = queue.Queue(most_events)
        self._keys = keys
        self._after_of = after_of
        self._links: dict[str, tuple[RelayPlace, RelayLink]] = {}

    def tell(self, event: Event) -> bool:
        """Report from any thread; False when there is no room (a device's message is then lost, and asked for again)."""
        try:
            self.events.put(event, timeout=TELL_S)
        except queue.Full:
            return False
        return True

    def follow(self, paired: Sequence[PairedRelay]) -> None:
        """Have exactly one link for each of ``paired``."""
        wanted = {one.relay: one for one in paired}
        for relay, (place, _) in list(self._links.items()):
            if relay not in wanted or wanted[relay].place != place:
                link = self._links.pop(relay)[1]
                link.stop()
                link.join(time.monotonic())
        for one in paired:
            if one.relay not in self._links:
                self._begin(one)

    def call(self, relay: str, call: Call) -> bool:
        """Queue a call to a relay; False when it has no link or no room."""
        found = self._links.get(relay)
        return found is not None and found[1].call(call)

    def relays(self) -> tuple[str, ...]:
        """Name the relays that have a link."""
        return tuple(self._links)

    def wait_for_records(self, relay: str) -> None:
        """Let a relay's listener go on after what is stored."""
        found = self._links.get(relay)
        if found is not None:
            found[1].wait_for_records(self._after_of(relay))

    def nudge(self) -> None:
        """Let every listener go on, whether it waits for that or not: a page that was lost is asked for again."""
        for link in [link for _, link in self._links.values()]:
            link.nudge()

    def stop(self) -> None:
        """End all links, within ``STOP_S`` together."""
        until = time.monotonic() + STOP_S
        for _, link in self._links.values():
            link.stop()
        for _, link in self._links.values():
            link.join(until)
        self._links.clear()

    def _begin(self, one: PairedRelay) -> None:
        control = self._keys.control(one.project)
        client = RelayClient(one.place, ControlIdentity(control.chain_pem, control.key_pem().decode()))
        link = RelayLink(one.relay, client, self.tell)
        self._links[one.relay] = (one.place, link)
        link.start(self._after_of(one.relay))
        link.call(AskVersion())
