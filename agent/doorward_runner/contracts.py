"""What ``runtime`` asks of those who end doors; the three in ``edges/`` are tested alike."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from doorward_protocol.ids import SessionId


class Opening(NamedTuple):
    """What a closer needs in order to start a door and to end it without us.

    Attributes:
        folder: the door's; its file ``end`` holds when, and may be rewritten while the door is open.
        ended_file: where the closer notes the session before it ends it.
        command: the sshd, in the foreground.
        longest_s: no door of this device lasts longer, whatever ``end`` says.
    """

    session: SessionId
    folder: Path
    ended_file: Path
    command: Sequence[str]
    longest_s: int


class Closer(Protocol):
    """One way to end everything that ever ran behind a door."""

    @property
    def name(self) -> str:
        """Give its name in answers and configuration."""

    def is_possible(self) -> bool:
        """Tell whether this machine has what it needs."""

    def start(self, opening: Opening) -> None:
        """Start whoever ends the door, and then the door; raises Refused ``door.not-started``."""

    def end(self, session: SessionId, folder: Path) -> bool:
        """End everything of ``session``, and tell whether nothing is left. Ending what is not there is a success."""
