"""Writes the measured tables into docs/performance.md, from what the benches said with ``--json``.

    python bench/write_up.py door_open.json footprint.json throughput.json

Each file is named for its bench. A table stands between ``<!-- measured: NAME -->`` and ``<!-- end -->``; the words around are a person's.
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

from bench.report import Bench

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def main(files: Sequence[str]) -> int:
    page = PAGE.read_text()
    for file in map(Path, files):
        bench = import_module(f"bench.{file.stem}").BENCH
        table = table_of(bench, json.loads(file.read_text()))
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
    lines += ["", "| in the same run | |", "|---|---|"]
    lines += [f"| {name} | {figure:.2f} |" for name, figure in said["anchors"].items()]
    where = (
        f"{machine['date']}, {machine['form']} form, {machine['cores']} cores {machine['processor']}, load {machine['load_before']:g} before and"
        f" {machine['load_after']:g} after, Linux {machine['kernel']}, Python {machine['python']}, OpenSSH {machine['openssh']}."
    )
    return "\n".join([*lines, "", where, *(f"{note[0].upper()}{note[1:]}." for note in machine["notes"]), ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
