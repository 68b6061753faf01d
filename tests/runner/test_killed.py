"""SIGKILL of everything at each step, many times: no command runs twice, and no half-applied setting survives (I11, B7)."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from doorward_protocol.digests import digest_of

from tests.parts.files import write_whole
from tests.parts.processes import PLAIN_ENVIRONMENT
from tests.parts.waiting import wait_until
from tests.protocol.cast import command_body, named
from tests.runner.programs import RUNNER
from tests.runner.site import Site

pytestmark = [pytest.mark.feature("I11", "B7"), pytest.mark.timeout(300)]

THEN: Final = ("the trial is over", "the machine boots")
MOMENTS: Final = 12
"""How many times everything is killed, each time a little later."""
MOST: Final = 2 * MOMENTS
"""How many times where a busy machine let none of them fall into the middle."""
APPLY: Final = """#!/bin/sh
set -eu
keeps={folder}/keeps
cat > {folder}/wanted
base=$(sed 's/.*"base": "\\([^"]*\\)".*/\\1/' {folder}/wanted)
if [ "$(cat $keeps/before/base 2> /dev/null)" != "$base" ]; then
    rm -rf $keeps/new; mkdir -p $keeps/new; cp {folder}/first {folder}/second $keeps/new/; echo "$base" > $keeps/new/base
    rm -rf $keeps/before; mv $keeps/new $keeps/before
fi
value=$(sed 's/.*"values": {{"address": "\\([a-z0-9]*\\)".*/\\1/' {folder}/wanted)
echo "$value" > {folder}/first
sleep 0.05
echo "$value" > {folder}/second
"""
REVERT: Final = """#!/bin/sh
set -eu
keeps={folder}/keeps
base=$(sed 's/.*"base": "\\([^"]*\\)".*/\\1/')
if [ "$(cat $keeps/before/base 2> /dev/null)" != "$base" ]; then exit 0; fi
cp $keeps/before/first {folder}/first
cp $keeps/before/second {folder}/second
rm $keeps/before/base
rm -rf $keeps/before
"""
"""Both as the contract has it: apply keeps what is there before it changes anything, and revert brings that back."""
READ: Final = '#!/bin/sh\nprintf \'{{"values": {{"address": "%s"}}}}\' "$(cat {folder}/first)"\n'
COUNTS: Final = "#!/bin/sh\necho ran >> {folder}/runs\nsleep 0.05\necho ended >> {folder}/runs\n"


class Killed:
    """A site whose setting is two files, and whose runner is killed in the middle with all that came of it."""

    def __init__(self, site: Site) -> None:
        self.site, self.folder = site, site.folder / "device"
        hooks = site.folder / "hooks"
        for folder in (self.folder, self.folder / "keeps", hooks):
            folder.mkdir(mode=0o755)
        scripts = {"settings-apply": APPLY, "settings-revert": REVERT, "settings-read": READ, "message": COUNTS}
        for verb, text in scripts.items():
            write_whole(hooks / verb, text.format(folder=self.folder)).chmod(0o755)
        self.hook = hooks / "settings-apply"
        for name in ("first", "second"):
            write_whole(self.folder / name, "factory\n")
        site.configure(hooks=[str(hooks)], trial_s=3600)

    @property
    def values(self) -> list[str]:
        return [(self.folder / name).read_text().strip() for name in ("first", "second")]

    @property
    def runs(self) -> int:
        path = self.folder / "runs"
        return path.read_text().split().count("ran") if path.exists() else 0

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.site.as_root(stdin=json.dumps(request).encode() + b"\n").stdout)
        return answer

    def order(self, envelope: Mapping[str, Any]) -> dict[str, Any]:
        return self.ask({"verb": "order", "envelope": envelope, "port": 65_535})

    def signed(self, body: Any, part: str, revision: int) -> dict[str, Any]:
        self.ask({"verb": "status"})
        return self.site.envelope(body, part=part, revision=revision)

    def confirmed(self, address: str, revision: int) -> None:
        """Have settings tried and confirmed."""
        text = json.dumps({"values": {"address": address}})
        assert self.order(self.signed(text, "settings", revision))["state"] == "trying"
        trial = {"epoch": 0, "revision": revision, "digest": digest_of(text.encode())}
        assert self.order(self.signed({"settings": trial}, "confirm", revision))["state"] == "confirmed"

    def timed(self, envelope: Mapping[str, Any]) -> float:
        """Hand over an order, and give how many seconds it takes."""
        began_s = time.monotonic()
        assert self.order(envelope)["ok"]
        return time.monotonic() - began_s

    def killed_after(self, delay_s: float, envelope: Mapping[str, Any]) -> None:
        """Hand over an order, and kill whatever there is of the runner's after ``delay_s``."""
        kill_at_s = time.monotonic() + delay_s
        self.killed_once(lambda: time.monotonic() > kill_at_s, envelope)

    def killed_once(self, is_so: Callable[[], bool], envelope: Mapping[str, Any]) -> None:
        """Hand over an order, and kill whatever there is of the runner's as soon as ``is_so``, or the runner has answered."""
        line = json.dumps({"verb": "order", "envelope": envelope, "port": 65_535}).encode() + b"\n"
        command = [str(RUNNER), "--config", str(self.site.config)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=dict(PLAIN_ENVIRONMENT)
        ) as process:
            assert process.stdin is not None
            process.stdin.write(line)
            process.stdin.close()
            while not is_so() and process.poll() is None:
                time.sleep(0.001)
            process.kill()
            self.kill()

    def kill(self) -> None:
        """Kill runners, watchers, hooks and timers until none is left."""
        wait_until(lambda: [_kill(pid) for pid in self._all()] == [], 20, "everything to be dead")

    def _all(self) -> list[int]:
        marks = (str(self.site.config).encode(), f"DOORWARD_STATE={self.site.state_dir}".encode())
        found = [int(path.name) for path in Path("/proc").glob("[0-9]*") if any(mark in _words(path) for mark in marks)]
        return [pid for pid in found if pid != os.getpid()]

    def note(self) -> dict[str, Any]:
        """Read what was written down of the settings."""
        found: dict[str, Any] = json.loads((self.site.state_dir / "settings.json").read_text())
        return found

    def passes(self, then: str) -> None:
        """Let the trial's time pass, or the machine boot, as the note sees it; and do what is done then."""
        changes = {"ends_s": 0} if "trial" in then else {"boot": "0" * 32}
        write_whole(self.site.state_dir / "settings.json", json.dumps(self.note() | changes))
        self.site.as_root("revert" if "trial" in then else "clear")


def _kill(pid: int) -> bool:
    with suppress(ProcessLookupError):  # with what it started, if it leads a group: a timer is a shell that sleeps
        os.killpg(pid, signal.SIGKILL) if os.getpgid(pid) == pid else os.kill(pid, signal.SIGKILL)
    return True


def _words(folder: Path) -> bytes:
    try:
        return (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def killed(site: Site) -> Iterator[Killed]:
    found = Killed(site)
    yield found
    found.kill()


@pytest.mark.parametrize("then", THEN)
def test_settings_when_everything_is_killed_at_any_moment_then_the_confirmed_ones_come_back_whole(
    killed: Killed, then: str
) -> None:
    """Before, while or after they are applied: what was confirmed last is in force again, neither half nor what was before it."""
    lasts_s, seen, came_back = 0.0, set(), []
    for number in range(MOST):
        good, tried = 2 * number + 1, 2 * number + 2
        killed.confirmed(f"good{good}", good)
        order = killed.signed({"values": {"address": f"tried{tried}"}}, "settings", tried)
        if number == 0:
            lasts_s = killed.timed(order)
        else:
            killed.killed_after(lasts_s * (number % MOMENTS or MOMENTS) / MOMENTS, order)
        note = killed.note()
        seen.add(note["state"])
        if note["revision"][1] == tried:
            killed.passes(then)
        came_back.append((killed.values, killed.note()["good"], killed.note()["state"] in ("reverted", "confirmed")))
        if number >= MOMENTS and seen >= {"applying", "trying"}:
            break
    assert {"applying", "trying"} <= seen
    goods = [f"good{2 * number + 1}" for number in range(len(came_back))]
    assert came_back == [([good, good], {"address": good}, True) for good in goods]


@pytest.mark.parametrize("then", [*THEN, "others come"])
def test_settings_when_everything_is_killed_before_their_hook_began_then_the_confirmed_ones_stay(
    killed: Killed, then: str
) -> None:
    """Written down and not begun: what the hook still keeps is from before the confirmed ones, and those are not undone."""
    killed.confirmed("factorys", 1)
    killed.confirmed("good", 2)
    with killed.hook.open("a") as file:
        file.write("exit 0" + "\n#" * 20_000_000)  # copying it takes a while
    order = killed.signed({"values": {"address": "tried"}}, "settings", 3)
    killed.killed_once(lambda: killed.note()["revision"][1] == 3, order)
    assert (killed.values, killed.note()["state"]) == (["good", "good"], "applying")
    if then == "others come":
        others = killed.signed({"values": {"address": "others"}}, "settings", 4)
        assert (killed.order(others)["state"], killed.values) == ("trying", ["others", "others"])
    killed.passes(THEN[0] if then == "others come" else then)
    assert (killed.values, killed.note()["state"]) == (["good", "good"], "reverted")


def test_command_when_everything_is_killed_at_any_moment_then_it_runs_at_most_once(killed: Killed) -> None:
    """Handed over again, signed anew, twice: it runs only where it had not begun; and where it is said to be done it was."""
    lasts_s = killed.timed(killed.signed(command_body(verb="message"), "command", 1))
    ends = []
    for number in range(2, 2 + MOST):
        runs, body = killed.runs, command_body(verb="message", command=named("c", str(number)))
        killed.killed_after(
            lasts_s * ((number - 1) % MOMENTS or MOMENTS) / MOMENTS, killed.signed(body, "command", number)
        )
        told = [killed.order(killed.signed(body, "command", number)) for _ in range(2)]
        assert told[0] == told[1]
        assert told[0]["state"] == "done"
        ran, code = killed.runs - runs, told[0]["code"]
        assert (ran, code) in {(1, None), (1, "command.interrupted"), (0, "command.interrupted")}, (number, told)
        ends.append(code)
        if len(ends) >= MOMENTS and len(set(ends)) > 1:
            break
    assert {None, "command.interrupted"} == set(ends)
