"""The pages' colours, from the stylesheet: text is read at WCAG's AA in light and dark, and motion stops where it is unwanted."""

import re
from itertools import product
from pathlib import Path

import doorward_console
import pytest

CSS = (Path(doorward_console.__file__).parent / "pages/static/doorward/doorward.css").read_text(encoding="utf-8")
BLOCKS = {
    "light": re.search(r"^:root \{(.*?)\n\}", CSS, re.MULTILINE | re.DOTALL),
    "dark by the system": re.search(r":root:not\(\[data-theme=\"light\"\]\) \{(.*?)\n  \}", CSS, re.DOTALL),
    "dark by the switch": re.search(r"^:root\[data-theme=\"dark\"\] \{(.*?)\n\}", CSS, re.MULTILINE | re.DOTALL),
}
TEXT_AA, SHAPE_AA = 4.5, 3.0
"""WCAG 2.2, 1.4.3 and 1.4.11."""

GROUNDS = ("paper", "card", "hover")
TEXTS = (
    *product(("ink", "soft", "accent"), (*GROUNDS, "code")),
    *product(("open", "move", "bad", "shut"), ("card", "hover", "paper")),
    ("open", "open-bg"), ("move", "move-bg"), ("bad", "bad-bg"), ("shut", "shut-bg"),
    ("ink", "bad-bg"), ("ink", "move-bg"), ("soft", "bad-bg"), ("soft", "move-bg"),
    ("on-accent", "accent"), ("card", "bad"), ("on-open", "open"),
)  # fmt: skip
"""Each text and what it stands on somewhere."""
SHAPES = (*product(("focus",), GROUNDS), ("open", "card"), ("move", "move-bg"), ("bad", "bad-bg"), ("shut", "card"))
"""The ring of the focus, and what tells one switch from another."""


def colours(theme: str) -> dict[str, str]:
    """Read a theme's colours as six hex digits."""
    block = BLOCKS[theme]
    assert block is not None
    found = re.findall(r"--([\w-]+): #([0-9a-f]{3,6});", block[1])
    return {name: digits if len(digits) == 6 else "".join(2 * one for one in digits) for name, digits in found}


def luminance(digits: str) -> float:
    """WCAG's relative luminance."""
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio, from 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_when_computed_then_it_is_wcags_own() -> None:
    """The measure itself: black on white is 21, and WCAG's grey #767676 just passes on white."""
    assert contrast("000000", "ffffff") == pytest.approx(21)
    assert contrast("767676", "ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", BLOCKS)
@pytest.mark.parametrize(("pairs", "least"), [(TEXTS, TEXT_AA), (SHAPES, SHAPE_AA)], ids=["text", "shapes"])
def test_colours_when_one_stands_on_another_then_the_contrast_is_aa(
    theme: str, pairs: tuple[tuple[str, str], ...], least: float
) -> None:
    """Nobody has to guess a word or a state for want of contrast."""
    named = colours(theme)
    weak = {f"{one} on {other}": round(contrast(named[one], named[other]), 2) for one, other in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < least} == {}


def test_dark_when_chosen_by_system_or_by_switch_then_it_is_the_same() -> None:
    """The switch and the system's setting show one page."""
    assert colours("dark by the system") == colours("dark by the switch")


def test_motion_when_the_viewer_wants_none_then_there_is_none() -> None:
    """Every transition and animation stops, whatever it is on."""
    quiet = re.search(r"@media \(prefers-reduced-motion: reduce\) \{(.*?)\n\}", CSS, re.DOTALL)
    assert quiet is not None
    assert "*, *::before, *::after" in quiet[1]
    assert {"transition: none !important", "animation: none !important"} <= set(
        re.findall(r"[\w-]+: [^;]+(?=;)", quiet[1])
    )
