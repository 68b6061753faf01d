"""Writes the measured tables into docs/performance.md, from what the benches said with ``--json``.

    python bench/write_up.py door_open.json footprint.json throughput.json

Each file is named for its bench. A table stands between ``<!-- measured: NAME -->`` and ``<!-- end -->``; the words around are a person's.
What grows is kept as numbers in docs/figures/NAME.json, with the picture made from them beside it.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.picture import Growth, picture_of
from bench.report import Bench

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
FIGURES = PAGE.with_name("figures")
ALONG = {"relay": "tunnels open", "fleet": "devices connected"}
"""What the sizes count, by bench."""


def main(files: Sequence[str]) -> int:
    page = PAGE.read_text()
    for file in map(Path, files):
        bench = import_module(f"bench.{file.stem}").BENCH
        said = json.loads(file.read_text())
        table = table_of(bench, said)
        if said.get("growth"):
            table += grown(file.stem, said["growth"])
        place = re.compile(rf"(<!-- measured: {file.stem} -->\n).*?(<!-- end -->)", re.DOTALL)
        page = place.sub(lambda found, table=table: found[1] + table + found[2], page)  # type: ignore[misc]  # a default binds the loop's value
    PAGE.write_text(page)
    return 0


def table_of(bench: Bench, said: Mapping[str, Any]) -> str:
    """Write one bench's result as two tables and a line about the machine."""
    machine = said["machine"]
    lines = ["| figure | measured | to reach | what |", "|---|---|---|---|"]
    for name, figure in said["figures"].items():
        goal = bench.goals[name]
        sign = "≤" if goal.sign == "<=" else "≥"
        shown = f"{figure:.2f}" if goal.is_met(figure) else f"**{figure:.2f}**, missed"
        lines.append(f"| `{name}` | {shown} | {sign} {goal.bound:g} | {goal.meaning} |")
    if said["anchors"]:
        lines += ["", "| in the same run | |", "|---|---|"]
        lines += [f"| {name} | {figure:.2f} |" for name, figure in said["anchors"].items()]
    where = (
        f"{machine['date']}, {machine['form']} form, {machine['cores']} cores {machine['processor']}, load {machine['load_before']:g} before and"
        f" {machine['load_after']:g} after, Linux {machine['kernel']}, Python {machine['python']}, OpenSSH {machine['openssh']}."
    )
    return "\n".join([*lines, "", where, *(f"{note[0].upper()}{note[1:]}." for note in machine["notes"]), ""])


def grown(name: str, growth: Mapping[str, Mapping[str, float]]) -> str:
    """Keep the numbers, draw them, and write them as a table with the picture below."""
    FIGURES.mkdir(exist_ok=True)
    (FIGURES / f"{name}.json").write_text(json.dumps(growth, indent=1) + "\n")
    (FIGURES / f"{name}.svg").write_text(picture_of(by_number(growth), ALONG[name]))
    sizes = list(dict.fromkeys(size for by_size in growth.values() for size in by_size))
    lines = [
        "",
        f"| {ALONG[name]} | " + " | ".join(f"{int(size):,}" for size in sizes) + " |",
        "|---" * (len(sizes) + 1) + "|",
    ]
    for figure, by_size in growth.items():
        lines.append(
            f"| {figure} | " + " | ".join(f"{by_size[one]:.2f}" if one in by_size else "" for one in sizes) + " |"
        )
    return "\n".join([*lines, "", f"![How it grows with {ALONG[name]}](figures/{name}.svg)", ""])


def by_number(growth: Mapping[str, Mapping[str, float]]) -> Growth:
    """Read what JSON keeps as text."""
    return {name: {int(size): one for size, one in by_size.items()} for name, by_size in growth.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
