"""Draws how figures grow, as an SVG that reads in light and in dark: one panel a figure, sizes along the way on a logarithmic axis.

A plotting library is thirty megabytes, and its pictures have one background; this is lines, dots and words, and a style sheet that asks
the reader's system. Called by ``write_up``.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Final
from xml.sax.saxutils import escape

Growth = Mapping[str, Mapping[int, float]]
"""Figures by what they say, each by size."""

WIDTH, HEIGHT, PER_ROW = 300, 200, 3
LEFT, RIGHT, TOP, BOTTOM = 30, 30, 46, 30
_STYLE: Final = """
  svg { color-scheme: light dark; font: 12px system-ui, sans-serif; }
  text { paint-order: stroke; stroke: #ffffff; stroke-width: 4; }
  .paper { fill: #ffffff; } .ink { fill: #24292f; } .soft { fill: #57606a; }
  .grid { stroke: #d0d7de; } .line { stroke: #0550ae; fill: none; stroke-width: 2; } .dot { fill: #0550ae; }
  @media (prefers-color-scheme: dark) {
    text { stroke: #0d1117; } .paper { fill: #0d1117; } .ink { fill: #e6edf3; } .soft { fill: #9198a1; }
    .grid { stroke: #3d444d; } .line { stroke: #79c0ff; } .dot { fill: #79c0ff; }
  }
"""


def picture_of(growth: Growth, along: str) -> str:
    """Draw all figures; ``along`` says what the sizes count."""
    rows = math.ceil(len(growth) / PER_ROW)
    width, height = WIDTH * min(PER_ROW, len(growth)), HEIGHT * rows
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
    said = "; ".join(
        f"{name}: " + ", ".join(f"{size} {one:g}" for size, one in by.items()) for name, by in growth.items()
    )
    lines = [head, f"<title>{escape(said)}</title>", f"<style>{_STYLE}</style>"]
    lines.append(f'<rect class="paper" width="{width}" height="{height}"/>')
    for n, (name, by_size) in enumerate(growth.items()):
        lines.append(f'<g transform="translate({n % PER_ROW * WIDTH} {n // PER_ROW * HEIGHT})">')
        lines += [*_panel(name, by_size, along), "</g>"]
    return "\n".join([*lines, "</svg>", ""])


def _panel(name: str, by_size: Mapping[int, float], along: str) -> Iterator[str]:
    places = [(_across(size, max(by_size)), _up(one, max(by_size.values()))) for size, one in by_size.items()]
    bottom = HEIGHT - BOTTOM
    yield f'<text class="ink" x="{LEFT - 8}" y="20" font-weight="600">{escape(name)}</text>'
    yield f'<line class="grid" x1="{LEFT - 8}" y1="{bottom}" x2="{WIDTH - RIGHT + 8}" y2="{bottom}"/>'
    yield f'<polyline class="line" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'
    for (size, one), (x, y) in zip(by_size.items(), places, strict=True):
        yield f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
        yield f'<text class="ink" x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle">{_short(one)}</text>'
        yield f'<text class="soft" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{size:,}</text>'
    yield f'<text class="soft" x="{WIDTH - RIGHT + 8}" y="20" text-anchor="end">{escape(along)}</text>'


def _across(size: int, largest: int) -> float:
    share = math.log(size) / math.log(largest) if largest > 1 else 0.0
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _up(figure: float, largest: float) -> float:
    """Give a height above the axis, which stands for nothing at all."""
    share = figure / largest if largest > 0 else 0.0
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def _short(figure: float) -> str:
    """Write three digits, as many as such a figure is worth."""
    digits = max(0, 2 - math.floor(math.log10(figure))) if figure > 0 else 0
    return f"{figure:,.{min(digits, 2)}f}"
