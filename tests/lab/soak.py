"""``make soak``: every fault, many times, in states and at moments by chance, and what came of it as a table.

``MINUTES`` and ``SEED`` are its arguments; the seed is printed, and with it the same faults come in the same order: each fault in
each of its states once before any comes again. ``EACH=1`` goes through the table in its order instead, once. One lab is used on and
on, as a house is: a fault that leaves something behind breaks the next, and who lives on is held to what he weighed at first. After a
failure the lab is built anew. The report goes into docs/reliability.md, between its marks.
"""

import argparse
import os
import random
import re
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tests.house.house import House
from tests.lab.building import a_lab, lacking
from tests.lab.faults import FAULTS, Fault, go_through
from tests.lab.middle import let_pass
from tests.lab.scales import Scales

TESTS: Final = Path(__file__).parents[1]
REPORT: Final = TESTS.parent / "docs" / "reliability.md"
BESIDE: Final[Mapping[str, Sequence[str]]] = {
    "PostgreSQL restarted under load": ("pytest", "-q", "-p", "no:cacheprovider", str(TESTS / "lab/test_postgres.py")),
    "embedded relay restarted with 1,000 devices": ("tests.lab.thousand", "embedded", "1000"),
    "managed relay's daemon restarted with 200 devices": ("tests.lab.thousand", "managed", "200"),
}
"""What needs a house or a network of its own; once for each twenty minutes of a soak."""
BESIDE_MINUTES: Final = 20
LONGEST_PAUSE_S: Final = 1.0
"""An opening takes less: a fault may come at any moment of it."""
CLOSING_PAUSE_S: Final = 0.3
"""Later there is hardly anybody left at a door to be killed."""
FUZZED: Final = 0.1
"""The part of the time that goes into fuzzing."""
FUZZ_LIMIT_S: Final = 7_200
"""Each test's own limit is for the quick form."""
_MARKS: Final = re.compile(r"(<!-- soak -->\n).*?(<!-- /soak -->)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, where the door is when it happens, and how long after that was brought about."""

    fault: Fault
    state: str
    pause_s: float


@dataclass(slots=True)
class Tally:
    """What was done, and what broke."""

    seed: int
    minutes: float
    tried: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    broke: dict[str, list[str]] = field(default_factory=dict)
    states: dict[str, set[str]] = field(default_factory=dict)

    def table(self) -> str:
        """Write the report: fault, in which states, how often, how often it met nobody or broke something, and what it broke first."""
        rows = [
            f"| {name} | {', '.join(sorted(self.states.get(name, ())))} | {count} | {self.missed[name]} | {len(self.broke.get(name, []))} |"
            f" {_short(self.broke.get(name, ['']))} |"
            for name, count in sorted(self.tried.items())
        ]
        head = f"`make soak MINUTES={self.minutes:g} SEED={self.seed}`: {sum(self.tried.values())} faults.\n\n"
        columns = ["| fault | while | times | met nobody | broke | first |", "|---|---|---|---|---|---|"]
        return head + "\n".join([*columns, *rows]) + "\n"


def _short(faults: list[str]) -> str:
    return faults[0].replace("|", "/").replace("\n", " ")[:200]


def main() -> int:
    """Soak; the status is the number of faults that broke something, at most 100."""
    asked = argparse.ArgumentParser(prog="make soak")
    asked.add_argument("--minutes", type=float, default=60)
    asked.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    asked.add_argument("--only", default="", help="where this pattern is found in 'NAME, while STATE', and no fuzzing")
    asked.add_argument("--each", action="store_true", help="the table once in each state, and no fuzzing")
    asked.add_argument("--write", action="store_true", help="put a whole run's table into docs/reliability.md")
    chosen = asked.parse_args()
    if reasons := lacking():
        print("make soak cannot run here: " + "; ".join(reasons), file=sys.stderr)
        return os.EX_UNAVAILABLE
    tally, ends_at = Tally(chosen.seed, chosen.minutes), time.monotonic() + chosen.minutes * 60
    print(f"seed {tally.seed}", flush=True)
    if not chosen.only and not chosen.each:
        fuzz(tally, chosen.minutes * FUZZED)
        for name, module in [*BESIDE.items()] * max(1, int(chosen.minutes / BESIDE_MINUTES)):
            run_program(tally, name, module)
    faults = possible(matching(chosen.only))
    plan = iter(each(faults)) if chosen.each else by_chance(faults, random.Random(tally.seed))
    while time.monotonic() < ends_at and in_one_lab(tally, plan, ends_at):
        pass
    print(tally.table())
    if chosen.write and not chosen.only:
        REPORT.write_text(_MARKS.sub(lambda found: found[1] + tally.table() + found[2], REPORT.read_text()))
    return min(sum(map(len, tally.broke.values())), 100)


def fuzz(tally: Tally, minutes: float) -> None:
    """Run the long form of what the suite fuzzes for seconds."""
    files = [str(TESTS / "fuzz"), *(str(TESTS / room / "test_fuzz.py") for room in ("console", "door", "relay"))]
    how = [f"--hypothesis-seed={tally.seed}", f"--timeout={FUZZ_LIMIT_S}"]
    run_program(tally, "fuzzing", ["pytest", "-q", "-p", "no:cacheprovider", *how, *files], minutes)


def _what_failed(said: str) -> str:
    """Give pytest's own line of the first that failed, or the last thing that was said."""
    lines = [line for line in said.splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("FAILED ")), lines[-1] if lines else "nothing was said")


def run_program(tally: Tally, name: str, module: Sequence[str], minutes: float = 0.0) -> None:
    """Run what needs no lab, or one of its own."""
    environment = {**os.environ, "DOORWARD_FUZZ_MINUTES": str(minutes)}
    done = subprocess.run(
        [sys.executable, "-m", *module], env=environment, capture_output=True, text=True, check=False, cwd=TESTS.parent
    )
    if not done.returncode and "skipped" in done.stdout and "passed" not in done.stdout:
        print(f"left out: {name}: {done.stdout[-400:]}", flush=True)
        return
    tally.tried[name] += 1
    print(f"{'BROKE' if done.returncode else 'held '} {name}: {done.stdout[-200:]}", flush=True)
    if done.returncode:
        said = done.stdout + done.stderr
        tally.broke[name] = [_what_failed(said)]
        print(said[-4000:], flush=True)


def matching(pattern: str) -> list[Fault]:
    """Choose faults, and of each the states, by how a case is printed."""
    chosen = [
        replace(fault, states=[state for state in fault.states if re.search(pattern, f"{fault.name}, while {state}")])
        for fault in FAULTS
    ]
    return [fault for fault in chosen if fault.states]


def possible(faults: Sequence[Fault]) -> list[Fault]:
    """Leave out, aloud, what cannot be done here."""
    for fault in faults:
        if fault.lacking:
            print(f"left out: {fault.name}: {fault.lacking}", flush=True)
    return [fault for fault in faults if not fault.lacking]


def each(faults: Sequence[Fault]) -> list[Case]:
    """Give each fault once in each of its states, an instant after the state was reached."""
    return [Case(fault, state, 0.0) for fault in faults for state in fault.states]


def by_chance(faults: Sequence[Fault], chance: random.Random) -> Iterator[Case]:
    """Give faults for ever, in an order and at moments by chance; each in each of its states before any comes again."""
    while True:
        deck = each(faults)
        chance.shuffle(deck)
        for case in deck:
            longest_s = CLOSING_PAUSE_S if case.state == "CLOSING" else LONGEST_PAUSE_S
            yield replace(case, pause_s=chance.random() * longest_s)


def in_one_lab(tally: Tally, plan: Iterator[Case], ends_at: float) -> bool:
    """Do one fault after the other to one lab, until one breaks something or time is up. Tells whether there is more to do."""
    with a_lab() as house:
        scales = Scales()
        scales.note(house)
        for case in plan:
            if not survives(tally, house, case, scales):
                return True
            if time.monotonic() > ends_at:
                return False
    return False


def survives(tally: Tally, house: House, case: Case, scales: Scales) -> bool:
    """Do one fault, and say how it went."""
    name, began = case.fault.name, time.monotonic()
    told = f"{name}, while {case.state}, {case.pause_s:.3f} s on the way"
    tally.tried[name] += 1
    tally.states.setdefault(name, set()).add(case.state)
    try:
        was_done = go_through(house, case.fault, case.state, lambda: let_pass(case.pause_s))
        scales.all_back(house)
    except Exception as failed:  # noqa: BLE001  # whatever it is, it belongs into the report
        tally.broke.setdefault(name, []).append(f"{case.state}: {failed}")
        print(f"BROKE {told}: {failed}\n{house.logs()}", flush=True)
        return False
    tally.missed[name] += not was_done
    print(f"{'held  ' if was_done else 'missed'} {told}, well after {time.monotonic() - began:.1f} s", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
