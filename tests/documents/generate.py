"""Write the generated parts of ``docs/``: called by ``make docs``, compared by ``test_documents``.

A page that people write carries generated sections between ``<!-- generated: NAME -->`` and ``<!-- end -->``; two files
are generated whole.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from doorward_agent.states import DOOR_TABLE
from doorward_agent.tables import answers_from_table
from doorward_protocol.audit import VERBS
from doorward_protocol.reasons import AT_PLAIN_RELAY, REASONS, Reason

from tests.documents.closure import closure_lines
from tests.documents.features import TABLES
from tests.documents.marks import Marked, marked_tests
from tests.documents.threats import ATTACKERS, OF_LATER, Attacker

DOCS: Final = Path(__file__).parents[2] / "docs"


NAMES: Final = ("architecture.md", "protocol.md", "threat-model.md", "features.md", "agent-closure.txt")
"""Every document with generated parts."""


@cache
def documents() -> Mapping[Path, str]:
    """Give each of ``NAMES`` as it should read now."""
    return {
        DOCS / "architecture.md": _filled("architecture.md", {"door": door()}),
        DOCS / "protocol.md": _filled(
            "protocol.md", {"verbs": verbs(), "reasons": reasons(REASONS), "plain-reasons": reasons(AT_PLAIN_RELAY)}
        ),
        DOCS / "threat-model.md": _filled("threat-model.md", {"threats": threats(marked_tests("threat"))}),
        DOCS / "features.md": features(marked_tests("feature")),
        DOCS / "agent-closure.txt": closure(),
    }


def _filled(name: str, sections: Mapping[str, str]) -> str:
    """Give a page with its generated sections replaced; a page that lacks one is an error."""
    text = (DOCS / name).read_text(encoding="utf-8")
    for section, content in sections.items():
        shape = re.compile(rf"(<!-- generated: {section} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, times = shape.subn(lambda found, content=content: f"{found[1]}{content}{found[2]}", text)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        if times != 1:
            raise LookupError(f"{name} has {times} sections {section!r}")
    return text


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def door() -> str:
    """Draw the door's machine from its table: every move, with the triggers that bring it about."""
    moves: dict[tuple[str, str], list[str]] = {}
    for answer in answers_from_table(DOOR_TABLE):
        if answer.target is not None:
            moves.setdefault((answer.source, answer.target), []).append(answer.trigger)
    arrows = [f"    {source} --> {target}: {', '.join(triggers)}\n" for (source, target), triggers in moves.items()]
    return "```mermaid\nstateDiagram-v2\n    [*] --> SHUT\n" + "".join(arrows) + "```\n"


def verbs() -> str:
    """Give the table of verbs."""
    return _table(
        ("verb", "written by", "says"), [(f"`{verb.name}`", verb.by, verb.sentence) for verb in VERBS.values()]
    )


def reasons(known: Mapping[str, Reason]) -> str:
    """Give a table of reason codes."""
    rows = [(f"`{one.code}`", one.meaning, one.next, one.move) for one in known.values()]
    return _table(("code", "what happened", "next step", "whose move"), rows)


def _tests(names: Sequence[str]) -> str:
    """Name tests, each by its file and function."""
    return "<br>".join(f"`{name}`" for name in names)


def threats(marked: Marked) -> str:
    """Give one table for each attacker: what remains, and what is prevented and by which test."""
    return "".join(_threats_of(attacker, marked) for attacker in ATTACKERS) + "\n"


def _threats_of(attacker: Attacker, marked: Marked) -> str:
    rows = [
        (
            f"`{row.slug}`",
            row.promise,
            _tests(marked.get(row.slug, ())) or f"not yet: {OF_LATER.get(row.slug, 'no test')}",
        )
        for row in attacker.cannot
    ]
    whole = _tests(marked.get(attacker.slug, ()))
    also = [(f"`{attacker.slug}`", "several of these at once", whole)] if whole else []
    return f"\n### {attacker.who}\n\nCan: {attacker.can}. Cannot:\n\n" + _table(
        ("row", "cannot", "held by"), rows + also
    )


def features(marked: Marked) -> str:
    """Give the whole of features.md."""
    head = (
        "# Features\n\n"
        "Made by `make docs` from the marks of the tests; do not edit. A row works when a test shows it; "
        "everything else is not yet there.\n"
    )
    parts = [head]
    for title, rows in TABLES:
        cells = [(row, wording, _tests(marked.get(row, ())) or "not yet") for row, wording in rows]
        parts.append(f"\n## {title}\n\n" + _table(("row", "behaviour", "works: test"), cells))
    return "".join(parts)


def closure() -> str:
    """Give the whole of agent-closure.txt."""
    head = (
        "# What pip install 'doorward[agent]' brings onto a device. Made by make docs; a new line here is a\n"
        "# decision: each one costs memory and has to be trusted.\n"
    )
    return head + "".join(f"{line}\n" for line in closure_lines())


def main() -> None:
    """Write what differs and name it."""
    for path, text in documents().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(DOCS.parent)}")  # a command line's answer


if __name__ == "__main__":
    main()
