"""The pictures that documents show are those that the tests take, or that are drawn from measured numbers (``test_figures``)."""

import re
from pathlib import Path

import pytest

from tests.browser.pictures import FILES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DRAWN = frozenset(path.with_suffix(".svg").name for path in (ROOT / "docs" / "figures").glob("*.json"))
SHOWN = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_when_it_shows_a_picture_then_the_gallery_takes_it_and_it_says_what_is_on_it(page: Path) -> None:
    """No picture is made by hand, and each has words for those who do not see it."""
    shown = SHOWN.findall(page.read_text(encoding="utf-8"))
    assert [
        name for _, name in shown if Path(name).name not in FILES | DRAWN or not (page.parent / name).is_file()
    ] == []
    assert [name for words, name in shown if len(words) < 20] == []


def test_readme_when_it_is_opened_then_it_shows_the_console() -> None:
    """A stranger sees within a screen what this is."""
    assert len(SHOWN.findall((ROOT / "README.md").read_text(encoding="utf-8"))) in {2, 3}


def test_screenshots_when_they_stand_in_the_folder_then_the_gallery_takes_each() -> None:
    """``make screenshots`` brings every one of them up to date."""
    assert {path.name for path in (ROOT / "docs" / "screenshots").iterdir()} <= FILES
