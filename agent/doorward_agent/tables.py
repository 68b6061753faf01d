"""Reading the tables of ``states``: what each cell says."""

from collections.abc import Iterator
from typing import NamedTuple

from doorward_agent.states import IGNORED


class Answer(NamedTuple):
    """One alternative of a cell; ``target`` is None for staying, ``ignored`` names the reason for doing nothing."""

    trigger: str
    source: str
    target: str | None
    action: str | None
    guard: str | None
    ignored: str | None


def answers_from_table(table: str) -> Iterator[Answer]:
    """Read a table of ``states`` cell by cell; a cell that says nothing sensible is our bug and raises ValueError."""
    lines = [line.split("|") for line in table.strip().splitlines()]
    columns = [name.strip() for name in lines[0][1:]]
    for first, *cells in lines[1:]:
        for source, cell in zip(columns, cells, strict=True):
            for alternative in cell.split("/"):
                yield _answer(first.strip(), source, alternative.split())


def _answer(trigger: str, source: str, words: list[str]) -> Answer:
    match words:
        case [ignored] if ignored.startswith("~") and ignored[1:] in IGNORED:
            return Answer(trigger, source, None, None, None, ignored[1:])
        case ["=", action]:
            return Answer(trigger, source, None, action, None, None)
        case [target, action]:
            return Answer(trigger, source, target, action, None, None)
        case [target, action, guard] if guard.startswith("?"):
            return Answer(trigger, source, target, action, guard[1:], None)
    raise ValueError(f"no answer for {trigger} in {source}: {words}")
