"""What the documents point at is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
_FOLDERS = "protocol|agent|relay|console|systemd|examples|tests|docs"
_PATH = re.compile(rf"`((?:{_FOLDERS})/[\w./-]+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_when_it_points_at_a_file_then_the_file_is_there(page: Path) -> None:
    """Links between pages, and paths of the checkout that a page names, lead somewhere."""
    text = page.read_text(encoding="utf-8")
    if page.name in ("features.md", "threat-model.md"):
        text = re.sub(r"`[\w/]+\.py::\w+`", "", text)  # generated from the tests themselves
    links = [link for link in _LINK.findall(text) if not (page.parent / link).exists()]
    paths = [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    assert links + paths == []


def test_reliability_when_it_names_a_test_then_there_is_one() -> None:
    """Whatever may be relied on is held by a test that exists."""
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    table = text.partition("## The lab")[0]
    held = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", table)
    assert held
    for file, test in held:
        source = ROOT / file
        assert source.exists(), file
        assert not test or f"def {test}(" in source.read_text(encoding="utf-8"), test


def test_readme_when_it_says_what_a_change_has_to_pass_then_the_build_machine_runs_that() -> None:
    """The build machine calls the README's own test command."""
    command = re.findall(r"`(make check test)`", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert command == ["make check test"]
    assert f"\n{command[0]}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_architecture_when_it_tells_the_way_of_an_order_then_its_files_are_there() -> None:
    """A reader follows an order from broker to tunnel through files that exist."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    way = re.findall(r"^\d\. `([\w/]+\.py)`", text, re.MULTILINE)
    assert len(way) == 5
    assert [name for name in way if not (ROOT / "agent" / "doorward_agent" / name).exists()] == []
