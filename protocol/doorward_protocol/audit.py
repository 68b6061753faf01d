"""Verbs of the history, each once, as ``subject.verb``; pages and docs are made from this table.

``sentence`` is filled with the record's data. A verb is never renamed: old histories have to stay readable.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb.

    Attributes:
        by: who writes it: ``console``, ``device`` or ``relay``.
        sentence: what it says, for people.
    """

    name: str
    by: str
    sentence: str


_ROWS: Final = (
    # What people asked for (console)
    Verb("project.created", "console", "The project was made"),
    Verb("project.changed", "console", "The project's rules were changed"),
    Verb("member.added", "console", "A member was added"),
    Verb("member.changed", "console", "A member's role was changed"),
    Verb("member.removed", "console", "A member was removed"),
    Verb("keys.made", "console", "The engineer key pair was made"),
    Verb("keys.replaced", "console", "The engineer key pair was replaced"),
    Verb("token.made", "console", "An API token was made"),
    Verb("token.ended", "console", "An API token was ended"),
    Verb("device.added", "console", "The device was added"),
    Verb("device.changed", "console", "The device's name, relay or port was changed"),
    Verb("device.removed", "console", "The device was removed"),
    Verb("device.joined", "console", "The device joined"),
    Verb("device.blocked", "console", "The device was blocked"),
    Verb("device.unblocked", "console", "The device was unblocked"),
    Verb("forward.set", "console", "A forward of the device was given a port"),
    Verb("forward.removed", "console", "A forward of the device was taken away"),
    Verb("licence.added", "console", "A licence was added for the device"),
    Verb("relay.paired", "console", "The relay was paired"),
    Verb("relay.added", "console", "The plain relay was added"),
    Verb("relay.changed", "console", "The relay was changed"),
    Verb("relay.removed", "console", "The relay was removed"),
    Verb("settings.asked", "console", "Settings were asked for"),
    Verb("settings.confirmed", "console", "The new settings were confirmed"),
    Verb("command.asked", "console", "A command was asked for"),
    Verb("command.refused", "console", "The command was refused"),
    Verb("command.ordered", "console", "The command was signed"),
    Verb("command.cancelled", "console", "The command was cancelled"),
    Verb("command.ended", "console", "The command has ended"),
    Verb("commands.asked", "console", "A command was asked for on several devices"),
    Verb("commands.stopped", "console", "A command on several devices was stopped"),
    Verb("session.on", "console", "ON: Start Remote M."),
    Verb("session.extended", "console", "The session was made longer"),
    Verb("session.off", "console", "OFF: Stop Remote M."),
    Verb("session.ordered", "console", "The order was signed"),
    Verb("session.refused", "console", "Turning on was refused"),
    Verb("session.opened", "console", "The door answered: maintenance is possible"),
    Verb("session.lost", "console", "The door stopped answering"),
    Verb("session.closed", "console", "The door is shut"),
    Verb("session.failed", "console", "The door did not open"),
    Verb("console.restored", "console", "The console was restored from a backup"),
    Verb("console.alarm", "console", "Something needs an administrator"),
    # What the device did
    Verb("agent.started", "device", "The agent started"),
    Verb("order.accepted", "device", "The device accepted an order"),
    Verb("order.refused", "device", "The device refused an order"),
    Verb("door.opening", "device", "The device is opening its door"),
    Verb("door.opened", "device", "The device opened its door"),
    Verb("door.failed", "device", "The device could not open its door"),
    Verb("door.lost", "device", "The device lost its tunnel"),
    Verb("door.closing", "device", "The device is shutting its door"),
    Verb("door.closed", "device", "The device shut its door"),
    Verb("forward.opened", "device", "The device opened a forward"),
    Verb("forward.failed", "device", "The device did not open a forward"),
    Verb("settings.begun", "device", "The device is trying new settings"),
    Verb("settings.trying", "device", "The new settings are in force until they are confirmed or put back"),
    Verb("settings.applied", "device", "The device applied its settings"),
    Verb("settings.reverted", "device", "The device put its settings back"),
    Verb("settings.failed", "device", "The device could not put its settings back"),
    Verb("command.begun", "device", "The device began a command"),
    Verb("command.done", "device", "The device ended a command"),
    Verb("history.forked", "device", "The device's and the console's histories differ"),
    # What the relay saw
    Verb("relay.started", "relay", "The relay's daemon started"),
    Verb("grant.accepted", "relay", "The relay accepted a grant"),
    Verb("grant.refused", "relay", "The relay refused a grant"),
    Verb("grant.ending", "relay", "The relay is ending a grant"),
    Verb("grant.ended", "relay", "The relay ended a grant"),
    Verb("tunnel.up", "relay", "The device's tunnel came up"),
    Verb("tunnel.down", "relay", "The device's tunnel went down"),
    Verb("tunnel.dead", "relay", "The device did not answer any more and its tunnel was ended"),
    Verb("tunnel.replaced", "relay", "A newer connection of the device took its port"),
    Verb("door.answered", "relay", "The door answered the probe"),
    Verb("door.silent", "relay", "The door stopped answering the probe"),
    Verb("visitor.came", "relay", "Someone connected to a port of the session"),
    Verb("visitor.left", "relay", "Someone's connection to a port of the session ended"),
    Verb("listener.surplus", "relay", "A listener without a grant was found and ended"),
    Verb("doors.shut", "relay", "All doors closed"),
)  # fmt: skip

VERBS: Final = {verb.name: verb for verb in _ROWS}
