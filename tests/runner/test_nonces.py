"""Nonces: two count, for at most ten minutes; as the runner keeps them and as the timer's script does."""

from pathlib import Path

import pytest
from doorward_runner.nonces import RENEW_AFTER_S, nonce_from_bytes, renewed, without
from hypothesis import given
from hypothesis import strategies as st

from tests.parts.processes import run
from tests.runner.programs import UNITS

SCRIPT = UNITS / "doorward-runner-renew-nonce.sh"


@pytest.mark.parametrize(
    ("held", "age_s", "expected"),
    [
        ((), None, ("fresh",)),
        (("a",), None, ("fresh",)),
        (("a", "b"), 299.0, ("a", "b")),
        (("a", "b"), 300.0, ("fresh", "a")),
        (("a", "b"), 599.0, ("fresh", "a")),
        (("a", "b"), 600.0, ("fresh",)),
        (("a", "b"), -1.0, ("fresh",)),
        ((), 10.0, ("fresh",)),
    ],
)
def test_nonces_when_newest_has_an_age_then_two_count_for_ten_minutes(
    held: tuple[str, ...], age_s: float | None, expected: tuple[str, ...]
) -> None:
    """Renewed at five minutes; past ten, or of unknown age, the old ones count no more."""
    assert renewed(held, age_s, "fresh") == expected


@pytest.mark.parametrize(("used", "expected"), [("a", ("fresh",)), ("b", ("fresh", "a"))])
def test_nonces_when_one_is_used_up_then_a_fresh_one_takes_its_place(used: str, expected: tuple[str, ...]) -> None:
    """A used nonce never counts again, nor does one that is older, and never more than two do."""
    assert without(("a", "b"), used, "fresh") == expected


@pytest.mark.threat("broker-late")
@given(st.lists(st.tuples(st.integers(0, 599), st.booleans()), max_size=30))
def test_nonces_when_orders_come_often_then_none_counts_for_longer_than_when_they_are_rare(
    steps: list[tuple[int, bool]],
) -> None:
    """Each order that is accepted makes a new nonce: an order that was kept back does not live by those that came since."""
    now, made, born = 0, 0, {"0": 0}
    held: tuple[str, ...] = ("0",)
    for number, (step, uses_the_newest) in enumerate(steps, 1):
        now += step
        renewed_ones = renewed(held, now - made, f"r{number}")
        made = now if renewed_ones != held else made
        used = renewed_ones[0 if uses_the_newest else -1]
        assert all(now - born.setdefault(nonce, now) < 2 * RENEW_AFTER_S for nonce in renewed_ones)
        held, made = without(renewed_ones, used, str(number)), now
        born[str(number)] = now


def test_nonce_when_written_then_it_has_22_characters_of_base64url() -> None:
    """The form that travels in asks and orders."""
    assert nonce_from_bytes(b"\xff" * 16) == "_" * 21 + "w"


def _uptime_s() -> int:
    return int(float(Path("/proc/uptime").read_text().split()[0]))


@pytest.mark.parametrize("age_s", [10, 250, 500, 700])
def test_renewing_script_when_run_then_it_follows_the_runners_rule(scratch: Path, age_s: int) -> None:
    """The script that needs no Python writes what the runner reads, modes and all."""
    folder = scratch / "run"
    assert run(["/bin/sh", SCRIPT, folder]).returncode == 0
    first = (folder / "nonce").read_text().split()
    assert [len(nonce) for nonce in first] == [22]
    (folder / "nonce.stamp").write_text(f"{_uptime_s() - age_s}\n")
    assert run(["/bin/sh", SCRIPT, folder]).returncode == 0
    second = (folder / "nonce").read_text().split()
    kept = {10: [*first], 250: [second[0], *first], 500: [second[0], *first], 700: [second[0]]}[age_s]
    assert second == kept
    assert (second[0] == first[0]) == (age_s == 10)
    assert abs(int((folder / "nonce.stamp").read_text()) - _uptime_s()) <= (12 if age_s == 10 else 2)
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "nonce": 0o644, "nonce.stamp": 0o644, "lock": 0o600,
    }  # fmt: skip
