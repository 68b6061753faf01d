"""What the cores decide, as data: the runtime performs it, in the order in which it stands.

An effect names what is to be so; how it is brought about is known to the edges alone.
"""

from dataclasses import dataclass

from doorward_protocol.grants import Grant
from doorward_protocol.ids import SessionId
from doorward_protocol.records import Fact
from doorward_protocol.revisions import Revision

from doorward_relay.view import Tunnel


@dataclass(frozen=True, slots=True)
class Live:
    """A grant that is in force, and its signed bytes' digest, by which the very same envelope is known again."""

    grant: Grant
    digest: str


@dataclass(frozen=True, slots=True)
class WriteRecord:
    """Continue the relay's chain with this fact."""

    fact: Fact


@dataclass(frozen=True, slots=True)
class KeepGrant:
    """Write down a grant as live."""

    live: Live


@dataclass(frozen=True, slots=True)
class KeepEnd:
    """Write down a session as ended, for ever as far as admitting is concerned."""

    session: SessionId
    at: int


@dataclass(frozen=True, slots=True)
class KeepSequence:
    """Write down the highest sequence seen."""

    sequence: Revision


@dataclass(frozen=True, slots=True)
class AdmitLive:
    """Let sshd admit the sessions that are live now, and nobody else."""


@dataclass(frozen=True, slots=True)
class CloseSession:
    """End every connection of a session and see its ports free; then record the outcome."""

    grant: Grant
    why: str


@dataclass(frozen=True, slots=True)
class EndTunnel:
    """End one connection of a device, if it is still the same one."""

    tunnel: Tunnel


@dataclass(frozen=True, slots=True)
class ProbeDoor:
    """Ask the door of a session to show its banner."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class DoubtDoor:
    """Probe the door of a session now rather than when its turn comes: its device has become silent."""

    session: SessionId


KEPT = (WriteRecord, KeepGrant, KeepEnd, KeepSequence)
"""Effects on the relay's own memory."""
Kept = WriteRecord | KeepGrant | KeepEnd | KeepSequence
Act = AdmitLive | CloseSession | EndTunnel | ProbeDoor | DoubtDoor
Effect = Kept | Act
