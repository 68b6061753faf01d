"""Histories made by hand, as console, device and relay would write them, naming each other's heads."""

from dataclasses import dataclass, field, replace
from typing import Any

from doorward_console.history.verify import Claimed, header_text
from doorward_protocol.records import Fact, Head, Moment, head_after, next_payload
from doorward_protocol.signature import SigningKey, keyid_of

PROJECT = "p-aaaaaaaaaaaaaaaa"
CONSOLE = f"console:{PROJECT}"
DEVICE = "device:d-aaaaaaaaaaaaaaaa"
RELAY = "relay:r-aaaaaaaaaaaaaaaa"


@dataclass
class Author:
    """One author and what it has written."""

    name: str
    key: SigningKey = field(default_factory=SigningKey.generate)
    head: Head = field(default_factory=Head)
    lines: list[str] = field(default_factory=list)
    places: list[Head] = field(default_factory=list)

    def write(self, verb: str, *named: "Author", about: str | None = None, **data: Any) -> None:
        """Write one record that names the heads of ``named``."""
        heads = {one.name: one.head for one in named if one.head.n}
        payload = next_payload(self.name, self.head, Moment(1790000000000), Fact(verb, device=about, data=data), heads)
        self.head = head_after(payload, self.head)
        self.places.append(self.head)
        self.lines.append(self.key.seal("record", payload).decode())

    def claimed(self) -> Claimed:
        return Claimed(self.key.public, self.head, "")


@dataclass
class History:
    """Three chains, bound to each other."""

    console: Author = field(default_factory=lambda: Author(CONSOLE))
    device: Author = field(default_factory=lambda: Author(DEVICE))
    relay: Author = field(default_factory=lambda: Author(RELAY))

    @property
    def authors(self) -> list[Author]:
        return sorted((self.console, self.device, self.relay), key=lambda one: one.name)

    def lines(self) -> list[str]:
        """Write it as an export."""
        header = header_text(PROJECT, {one.name: one.claimed() for one in self.authors})
        return [header, *(line for one in self.authors for line in one.lines)]

    def session(self) -> None:
        """Go through one opening: eleven records, the last two of the device named by nobody."""
        self.console.write("session.on", self.device, self.relay, by="aiko@example.com")
        self.console.write("session.ordered", self.device, self.relay)
        self.relay.write("grant.accepted", self.console)
        self.device.write("order.accepted", self.console)
        self.device.write("door.opened", self.console)
        self.relay.write("door.answered", self.console)
        self.console.write("session.opened", self.device, self.relay)
        self.console.write("session.off", self.device, self.relay)
        self.relay.write("grant.ended", self.console)
        self.device.write("door.closed", self.console)
        self.console.write("session.closed", self.device, self.relay)


def a_history(sessions: int = 2) -> History:
    """Give a history of a paired relay, a joined device and some sessions."""
    history = History()
    history.console.write("relay.paired", relay=RELAY.removeprefix("relay:"), record_key=history.relay.key.public)
    joined = {"identity": keyid_of(history.device.key.public)}
    history.console.write("device.joined", about=DEVICE.removeprefix("device:"), **joined)
    for _ in range(sessions):
        history.session()
    return history


def restored(history: History, back_to: int) -> None:
    """Take the console back to its record ``back_to``, as a backup does, and let it say so in a new epoch."""
    console = history.console
    del console.lines[back_to:], console.places[back_to:]
    console.head = replace(console.places[-1], epoch=console.places[-1].epoch + 1)
    console.write("console.restored", by="root", epoch=console.head.epoch)
