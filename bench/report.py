"""How every bench is called and what it says: a table for people, or with ``--json`` one object with the same figures.

A figure is compared with its goal and never fails the run: a busy machine is no fault of the code. What a bench could not measure here
(an anchor that is not installed) it names.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from tests.parts.installed import missing, program_path

MOST, LEAST = "<=", ">="


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure has to reach; ``sign`` is ``MOST`` or ``LEAST``."""

    sign: str
    bound: float
    meaning: str

    def is_met(self, figure: float) -> bool:
        return figure <= self.bound if self.sign == MOST else figure >= self.bound


@dataclass(slots=True)
class Report:
    """Figures by name, the anchors that they are held against, and what a reader has to know beside them."""

    figures: dict[str, float] = field(default_factory=dict)
    anchors: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    growth: dict[str, dict[int, float]] = field(default_factory=dict)
    """Figures by what they say, each by how many there were of what it is measured with."""

    def found(self, name: str, figure: float) -> None:
        """Keep a figure, and show it to whoever waits for the rest."""
        self.figures[name] = figure
        say(f"{name} {figure:.3f}")

    def grown(self, name: str, size: int, figure: float) -> None:
        """Keep a figure of a size on the way."""
        self.growth.setdefault(name, {})[size] = figure
        say(f"{size}: {name} {figure:.3f}")


@dataclass(frozen=True, slots=True)
class Bench:
    """One script: its goals, the parts that it needs, and how it measures, quickly or in full."""

    name: str
    goals: Mapping[str, Goal]
    needs: Sequence[str]
    measure: Callable[[Report, bool], None]

    def main(self) -> int:
        """Measure and print; status 69 where a part is missing."""
        parser = argparse.ArgumentParser(prog=f"bench/{self.name}.py")
        parser.add_argument("--json", action="store_true", help="print one object instead of the table")
        parser.add_argument("--quick", action="store_true", help="fewer rounds: for a look, not for the record")
        chosen = parser.parse_args()
        lacking = [reason for part in self.needs if (reason := missing(part))]
        if lacking:
            print(f"{self.name} cannot run here: " + "; ".join(lacking), file=sys.stderr)
            return os.EX_UNAVAILABLE
        report, load = Report(), os.getloadavg()[0]
        self.measure(report, chosen.quick)
        machine = {**machine_facts(), "load_before": round(load, 2), "load_after": round(os.getloadavg()[0], 2)}
        machine["form"] = "quick" if chosen.quick else "full"
        print(_as_json(report, machine) if chosen.json else self._table(report, machine), flush=True)
        return 0

    def _table(self, report: Report, machine: Mapping[str, object]) -> str:
        lines = ["", f"bench/{self.name}.py, {machine['form']} form", f"  {_sentence(machine)}", ""]
        lines += [self._line(name, figure) for name, figure in report.figures.items()]
        lines += ["  held against, in the same run:"]
        lines += [f"  {name:34} {figure:10.3f}" for name, figure in report.anchors.items()]
        lines += [
            f"  {name:34} " + "  ".join(f"{size}: {figure:.3f}" for size, figure in by_size.items())
            for name, by_size in report.growth.items()
        ]
        return "\n".join([*lines, *(f"  note: {note}" for note in report.notes)])

    def _line(self, name: str, figure: float) -> str:
        goal = self.goals[name]
        verdict = "reached" if goal.is_met(figure) else "MISSED"
        return f"  {name:34} {figure:10.3f}   {goal.sign} {goal.bound:<6g} {verdict:8} {goal.meaning}"


def _as_json(report: Report, machine: Mapping[str, object]) -> str:
    rounded = {
        group: {name: round(figure, 3) for name, figure in found.items()}
        for group, found in (("figures", report.figures), ("anchors", report.anchors))
    }
    growth = {name: {size: round(one, 3) for size, one in by_size.items()} for name, by_size in report.growth.items()}
    return json.dumps({**rounded, "growth": growth, "machine": {**machine, "notes": report.notes}})


def _sentence(machine: Mapping[str, object]) -> str:
    return (
        f"{machine['date']} · {machine['cores']} cores {machine['processor']} · load {machine['load_before']} → {machine['load_after']}"
        f" · Linux {machine['kernel']} · Python {machine['python']} · OpenSSH {machine['openssh']}"
    )


def machine_facts() -> dict[str, object]:
    """Say on what was measured."""
    processor = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "processor": processor.group(1) if processor else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": os.uname().release,
        "python": platform.python_version(),
        "openssh": _version("ssh", "-V", r"OpenSSH_([^\s,]+)"),
        "mosquitto": _version("mosquitto", "-h", r"version ([^\s,]+)"),
    }


def _version(part: str, argument: str, pattern: str) -> str:
    program = program_path(part)
    if program is None:
        return "none"
    said = subprocess.run([program, argument], capture_output=True, text=True, check=False, timeout=10)
    found = re.search(pattern, said.stdout + said.stderr)
    return found.group(1) if found else "?"


def in_turn(rounds: int, measures: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Measure A B A B …, so that what else the machine does meets all alike; gives each one's figures in their order."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for n in range(rounds):
        say(f"round {n + 1} of {rounds}")
        for name, measure in measures.items():
            found[name].append(measure())
    return found


def medians(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: statistics.median(figures) for name, figures in found.items()}


def median_ratio(ours: Sequence[float], anchor: Sequence[float]) -> float:
    """Give the median of ours over the median of the anchor, both from one run."""
    return statistics.median(ours) / statistics.median(anchor)


def say(what: str) -> None:
    """Show progress apart from the result."""
    print(f"bench: {what}", file=sys.stderr, flush=True)
