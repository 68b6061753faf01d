"""Pictures of figures say what the numbers beside them say."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.picture import picture_of
from bench.write_up import ALONG, FIGURES, by_number

KEPT = sorted(FIGURES.glob("*.json"))


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.stem)
def test_picture_when_drawn_anew_from_its_numbers_then_it_is_the_one_that_is_shown(kept: Path) -> None:
    """A picture is made from what was measured, by the script, and by nobody's hand."""
    growth = by_number(json.loads(kept.read_text()))
    assert kept.with_suffix(".svg").read_text() == picture_of(growth, ALONG[kept.stem])


def test_picture_when_figures_are_anything_then_it_is_drawn_within_its_paper() -> None:
    """One size, nothing at all and a word with a bracket are drawn, too."""
    drawn = ET.fromstring(picture_of({"a < b": {1: 0.0}, "more": {1: 3.0, 5000: 12_345.6}}, "tunnels"))
    points = [point.split(",") for line in drawn.iter("{*}polyline") for point in line.attrib["points"].split()]
    assert all(0 <= float(x) <= 300 and 0 <= float(y) <= 200 for x, y in points)
    assert "12,346" in "".join(drawn.itertext())
