"""The documents say what the code says."""

import pytest

from tests.documents.features import IDS
from tests.documents.generate import DOCS, NAMES, documents
from tests.documents.marks import marked_tests
from tests.documents.threats import ATTACKERS, OF_LATER, SLUGS


@pytest.mark.parametrize("name", NAMES)
def test_document_when_generated_again_then_nothing_differs(name: str) -> None:
    """Tables of verbs, reasons, features, threats and packages are those of the code and the tests."""
    assert {path.name for path in documents()} == set(NAMES)
    path = DOCS / name
    assert path.read_text(encoding="utf-8") == documents()[path], "run: make docs"


@pytest.mark.parametrize(
    ("mark", "known"), [("feature", IDS), ("threat", (*SLUGS, *(attacker.slug for attacker in ATTACKERS)))]
)
def test_marks_when_read_then_each_names_a_row(mark: str, known: tuple[str, ...]) -> None:
    """A test that promises a row promises one that exists."""
    assert {row: tests for row, tests in marked_tests(mark).items() if row not in known} == {}


@pytest.mark.parametrize("rows", [IDS, SLUGS], ids=["features", "threats"])
def test_rows_when_read_then_each_stands_once(rows: tuple[str, ...]) -> None:
    """A row's name is nobody else's."""
    assert len(set(rows)) == len(rows)


def test_threats_when_read_then_each_row_is_held_by_a_test() -> None:
    """Nothing is promised against an attacker that no test tries; what cannot be tried yet says so with its reason."""
    held = marked_tests("threat")
    assert [slug for slug in SLUGS if slug not in held and slug not in OF_LATER] == []
    assert [slug for slug in OF_LATER if slug in held or slug not in SLUGS] == []
