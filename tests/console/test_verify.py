"""An exported history: whoever touches it is found, and what cannot be found is said."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from doorward_console.history.verify import Claimed, Report, header_text, verify
from doorward_protocol.records import Head
from doorward_protocol.signature import SigningKey
from hypothesis import given
from hypothesis import strategies as st

from tests.console.histories import CONSOLE, DEVICE, PROJECT, RELAY, a_history, restored

HISTORY = a_history()
LINES = HISTORY.lines()


def faults(lines: list[str]) -> list[tuple[str, int, int]]:
    return [(one.author, one.epoch, one.n) for one in verify(lines).faults]


@pytest.mark.feature("B6")
def test_verify_when_nothing_was_touched_then_it_holds_and_says_how_far_each_chain_is_named() -> None:
    """A whole history holds; the report names each chain, its head and how far others vouch for it."""
    report = verify(LINES)
    assert report.holds
    assert {one.author: (one.records, one.head.n, one.named_n) for one in report.chains} == {
        CONSOLE: (12, 12, 11),
        DEVICE: (6, 6, 6),
        RELAY: (6, 6, 6),
    }


def _without(lines: list[str], author: str, n: int) -> list[str]:
    return [line for line in lines if line != line_of(author, n)]


def line_of(author: str, n: int) -> str:
    return next(one for one in HISTORY.authors if one.name == author).lines[n - 1]


def _again(author: str, n: int, /, **changes: object) -> str:
    """Sign a record of this author again with another payload or key."""
    from base64 import b64decode

    payload = json.loads(b64decode(json.loads(line_of(author, n))["payload"]))
    key = changes.pop("key", None)
    payload.update(changes)
    own = next(one for one in HISTORY.authors if one.name == author).key
    signer = key if isinstance(key, SigningKey) else own
    return signer.seal("record", json.dumps(payload, separators=(",", ":")).encode()).decode()


def _altered(lines: list[str], author: str, n: int, /, **changes: object) -> list[str]:
    return [_again(author, n, **changes) if line == line_of(author, n) else line for line in lines]


def _swapped(lines: list[str], author: str, n: int) -> list[str]:
    at = lines.index(line_of(author, n))
    return [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]


def _header(lines: list[str], change: Callable[[dict[str, Claimed]], object]) -> list[str]:
    claimed = {one.name: one.claimed() for one in HISTORY.authors}
    change(claimed)
    return [header_text(PROJECT, claimed), *lines[1:]]


def _cut(author: str, keep: int) -> list[str]:
    """Cut the tail of one chain, and mend the header so that it does not tell."""
    chain = next(one for one in HISTORY.authors if one.name == author)
    kept = [line for line in LINES if line not in chain.lines[keep:]]
    return _header(
        kept, lambda claimed: claimed.update({author: Claimed(chain.key.public, chain.places[keep - 1], "")})
    )


CRIMES = {
    "a record removed in the middle": (_without(LINES, DEVICE, 3), (DEVICE, 0, 4)),
    "a record altered": (
        [line.replace('"sig":"', '"sig":"A', 1) if line == line_of(RELAY, 2) else line for line in LINES],
        None,
    ),
    "a record altered and signed again by its own author": (_altered(LINES, RELAY, 2, verb="tunnel.up"), (RELAY, 0, 3)),
    "a record signed again by another key": (_altered(LINES, CONSOLE, 4, key=SigningKey.generate()), (CONSOLE, 0, 4)),
    "a record renumbered": (_altered(LINES, DEVICE, 6, n=7), (DEVICE, 0, 7)),
    "records reordered": (_swapped(LINES, RELAY, 2), (RELAY, 0, 2)),
    "a record twice": ([*LINES[:3], LINES[2], *LINES[3:]], (CONSOLE, 0, 2)),
    "a tail cut that the console has named": (_cut(DEVICE, 5), (DEVICE, 0, 6)),
    "a tail cut of the console that the device has named": (_cut(CONSOLE, 10), (CONSOLE, 0, 11)),
    "a whole chain removed": (
        _header([line for line in LINES if line not in HISTORY.relay.lines], lambda claimed: claimed.pop(RELAY)),
        (RELAY, 0, 2),
    ),
    "another key for the relay than the console vouched for": (
        _header(LINES, lambda claimed: claimed.update({RELAY: Claimed(SigningKey.generate().public, Head(), "")})),
        (CONSOLE, 0, 1),
    ),
    "another key for the device than the console vouched for": (
        _header(LINES, lambda claimed: claimed.update({DEVICE: Claimed(SigningKey.generate().public, Head(), "")})),
        (CONSOLE, 0, 2),
    ),
    "a higher epoch without a restore": (_altered(LINES, CONSOLE, 12, epoch=1), (CONSOLE, 1, 12)),
    "a record of another project's console": (
        [*LINES[:13], _again(CONSOLE, 12, author="console:p-bbbbbbbbbbbbbbbb"), *LINES[13:]],
        ("console:p-bbbbbbbbbbbbbbbb", 0, 12),
    ),
    "a line that is no record": ([*LINES, "{}"], (RELAY, 0, 6)),
    "a line written in another way": (
        [line.replace('":"', '": "', 1) if line == line_of(CONSOLE, 3) else line for line in LINES],
        (CONSOLE, 0, 3),
    ),
    "an empty file": ([], ("", 0, 0)),
}


@pytest.mark.feature("B6")
@pytest.mark.threat("web-process-history")
@pytest.mark.parametrize("crime", CRIMES)
def test_verify_when_the_export_was_tampered_with_then_it_says_where(crime: str) -> None:
    """Each way of tampering is found, at the record at which the history breaks."""
    lines, where = CRIMES[crime]
    found = faults(lines)
    assert found
    assert where is None or where in found


@pytest.mark.feature("B6")
def test_verify_when_the_consoles_key_is_not_the_one_known_then_it_is_broken() -> None:
    """Whoever writes a whole new history with keys of their own is found by one key that the reader knows."""
    assert verify(LINES, HISTORY.console.key.public).holds
    assert not verify(LINES, SigningKey.generate().public).holds


@given(st.data())
@pytest.mark.feature("B6")
def test_verify_when_any_single_thing_is_changed_then_it_is_broken(data: st.DataObject) -> None:
    """Any one line removed, doubled, moved, or changed in any one character is found; no exception is needed for tails,
    because the header names where chains end."""
    lines = list(LINES)
    at = data.draw(st.integers(0, len(lines) - 1))
    match data.draw(st.sampled_from(["remove", "double", "move", "character", "drop"])):
        case "remove":
            del lines[at]
        case "double":
            lines.insert(at, lines[at])
        case "move":
            to = data.draw(st.integers(0, len(lines) - 1).filter(lambda one: one != at))
            lines.insert(to, lines.pop(at))
        case "character":
            place = data.draw(st.integers(0, len(lines[at]) - 1))
            other = data.draw(st.characters(codec="utf-8").filter(lambda one: one != lines[at][place]))
            lines[at] = lines[at][:place] + other + lines[at][place + 1 :]
        case "drop":
            place = data.draw(st.integers(0, len(lines[at]) - 1))
            lines[at] = lines[at][:place] + lines[at][place + 1 :]
    assert not verify(lines).holds


@pytest.mark.feature("B6")
def test_verify_when_an_unnamed_tail_and_its_mention_are_cut_then_only_the_report_before_told() -> None:
    """What nobody has named can be cut with the header's help; the report says beforehand from which record on."""
    assert verify(_cut(CONSOLE, 11)).holds
    console = next(one for one in verify(LINES).chains if one.author == CONSOLE)
    assert (console.head.n, console.named_n) == (12, 11)


def restored_history() -> tuple[list[str], Report]:
    history = a_history()
    restored(history, 9)
    history.session()
    return history.lines(), verify(history.lines())


@pytest.mark.feature("B6")
@pytest.mark.threat("database-restored")
def test_verify_when_the_console_was_restored_then_it_holds_and_shows_what_was_lost() -> None:
    """A restore is no fault and is never silent: the new epoch, the last record kept, and what others say was lost."""
    _, report = restored_history()
    assert report.holds
    assert [(one.epoch, one.after, one.lost) for one in report.restores] == [(1, 9, 11)]


@pytest.mark.feature("B6")
def test_verify_when_a_restored_console_leaves_its_restore_out_then_it_is_broken() -> None:
    """Without the record that says so, going back is what it looks like: a cut tail."""
    history = a_history()
    console = history.console
    del console.lines[9:], console.places[9:]
    console.head = console.places[-1]
    history.session()
    assert (CONSOLE, 0, 11) in faults(history.lines())


@pytest.mark.feature("B6")
def test_verify_history_when_run_as_a_program_then_it_needs_nothing_but_the_file(tmp_path: Path) -> None:
    """The command works without configuration, database and Django, and its exit status says what it found."""
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text("\n".join(LINES) + "\n")
    bad.write_text("\n".join(_without(LINES, DEVICE, 3)) + "\n")
    program = (
        "import sys; sys.modules['django'] = None\n"
        "from doorward_console.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )

    def run(*argv: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", program, "verify-history", *argv], capture_output=True, text=True, timeout=30,
            check=False, env={"DOORWARD_CONSOLE_CONFIG": "/nonexistent"},
        )  # fmt: skip

    held = run(str(good), "--json")
    assert held.returncode == 0, held.stderr
    assert json.loads(held.stdout)["records"] == 24
    broken = run(str(bad))
    assert broken.returncode == 1
    assert f"BROKEN: {DEVICE} epoch 0 record 4" in broken.stdout
    assert run(str(tmp_path / "missing")).returncode == 2
