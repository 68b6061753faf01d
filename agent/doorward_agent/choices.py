"""What a command line asks for.

The line that an init runs for years is read by hand: argparse would stay in an idle agent's memory, 1.4 MiB of it. Everything else
goes to ``command_line``, which is a person's and soon over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from doorward_agent.config import DEFAULT_PATH


@dataclass(frozen=True, slots=True)
class Chosen:
    """One command; ``line`` and ``is_again`` are ``join``'s, ``as_json`` is ``status``'s, ``forward`` is ``forwards``'."""

    command: str
    config: Path = DEFAULT_PATH
    line: str = ""
    is_again: bool = False
    as_json: bool = False
    forward: str = ""


def chosen_from_words(words: Sequence[str]) -> Chosen:
    """Read a command line; ends the program where it is wrong or asks for help."""
    match list(words):
        case ["run"]:
            return Chosen("run")
        case ["--config", path, "run"]:
            return Chosen("run", Path(path))
    from doorward_agent.command_line import parsed

    return parsed(words)
