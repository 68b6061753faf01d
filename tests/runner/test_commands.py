"""Commands at the runner: signed, at most once, written down before and after, and nobody held up by a hook."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.parts.files import write_whole
from tests.parts.waiting import wait_until
from tests.protocol.cast import command_body, named
from tests.runner.site import Site

pytestmark = [pytest.mark.feature("I11"), pytest.mark.timeout(120)]

COUNTS = '#!/bin/sh\necho ran >> "{marks}"\ncat > /dev/null\necho \'{{"n": 1}}\'\necho said >&2\n'
WAITS = '#!/bin/sh\necho ran >> "{marks}"\nwhile ! [ -e "{marks}.go" ]; do sleep 0.05; done\n'


class Hooks:
    """A site's folder of hooks, and how often they ran."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.folder = site.folder / "hooks"
        self.folder.mkdir(mode=0o755)
        self.marks = site.folder / "marks"
        site.configure(hooks=[str(self.folder)])

    def put(self, verb: str, text: str) -> Path:
        """Put a hook there, the runner's own and executable."""
        path = write_whole(self.folder / verb, text.format(marks=self.marks))
        path.chmod(0o755)
        return path

    @property
    def runs(self) -> int:
        return self.marks.read_text().count("ran") if self.marks.exists() else 0

    def command(self, number: int = 1, verb: str = "message", **message: Any) -> dict[str, Any]:
        """Sign a command for the newest nonce; the next revision unless one is given."""
        self.site.ask({"verb": "status"})
        body = command_body(command=named("c", str(number)), verb=verb)
        return self.site.envelope(body, part="command", **message)


@pytest.fixture
def hooks(site: Site) -> Hooks:
    """No hook yet."""
    return Hooks(site)


def test_command_when_ordered_then_its_hook_runs_and_the_answer_says_how_it_went(hooks: Hooks) -> None:
    """One signed order, one run, one answer with status, words and result."""
    hooks.put("message", COUNTS)
    answer = hooks.site.order(hooks.command())
    assert (answer["ok"], answer["state"], answer["code"], answer["status"]) == (True, "done", None, 0), answer["said"]
    assert (answer["result"], answer["said"].strip()) == ({"n": 1}, "said")
    assert hooks.runs == 1


def test_command_when_ordered_again_then_it_is_told_and_not_run(hooks: Hooks) -> None:
    """The same revision signed again: how it went; an older one, and the very same envelope: refused."""
    hooks.put("message", COUNTS)
    first = hooks.command()
    told = hooks.site.order(first)
    assert hooks.site.order(first)["code"] == "order.stale-nonce"
    again = hooks.site.order(hooks.command(revision=hooks.site.revision))
    assert again == told
    hooks.site.order(hooks.command(2))
    older = hooks.command(3, revision=hooks.site.revision - 1)
    assert hooks.site.order(older)["code"] == "order.lower-revision"
    other = hooks.command(4, revision=hooks.site.revision + 1)
    assert hooks.site.order(other)["code"] == "order.other-digest"
    assert hooks.runs == 2


def test_command_when_its_verb_is_none_of_the_orders_then_nothing_runs(hooks: Hooks) -> None:
    """Not hooks that only settings may run, nor whatever else stands in the folder or above it."""
    hooks.put("settings-apply", COUNTS)
    for name in ("settings-apply", "../reboot", "sh"):
        order = hooks.site.envelope(command_body(verb=name), part="command")
        assert hooks.site.order(order)["code"] == "order.not-allowed"
    assert hooks.runs == 0


def test_door_when_a_hook_is_at_work_then_it_is_opened_and_shut_at_once(hooks: Hooks) -> None:
    """A hook has a lock of its own: shutting waits for nobody."""
    hooks.put("message", WAITS)
    site, answers = hooks.site, list[dict[str, Any]]()
    envelope = hooks.command()
    waiting = threading.Thread(target=lambda: answers.append(site.order(envelope)))
    waiting.start()
    wait_until(lambda: hooks.runs == 1, 10, "the hook")
    assert site.ask({"verb": "command"})["state"] == "begun"

    opened = site.open()
    began = time.monotonic()
    assert site.ask({"verb": "close", "session": opened["session"]})["ok"]
    assert time.monotonic() - began < 5
    assert site.order(hooks.command(2, revision=site.revision + 1))["code"] == "runner.busy"
    write_whole(Path(f"{hooks.marks}.go"), "")
    waiting.join(20)
    assert answers[0]["state"] == "done"
    assert hooks.runs == 1


@pytest.mark.parametrize(
    ("verb", "is_other_boot", "code"),
    [
        ("message", False, "command.interrupted"),
        ("message", True, "command.interrupted"),
        ("reboot", False, "command.interrupted"),
        ("reboot", True, None),
        ("factory-reset", True, None),
    ],
)
def test_command_when_power_failed_in_the_middle_then_it_is_never_run_again(
    hooks: Hooks, verb: str, *, is_other_boot: bool, code: str | None
) -> None:
    """What was written down as begun stays so: a reboot that comes back has done what it should, anything else is unknown."""
    hooks.put(verb, COUNTS)
    site = hooks.site
    site.order(hooks.command(verb=verb))
    kept = site.state_dir / "command.json"
    cut = json.loads(kept.read_text()) | {"outcome": None}
    kept.write_text(json.dumps(cut | ({"boot": "0" * 32} if is_other_boot else {})))

    told = site.ask({"verb": "command"})
    assert (told["state"], told["code"]) == ("done", code)
    again = site.order(hooks.command(verb=verb, revision=site.revision))
    assert (again["state"], again["code"]) == ("done", code)
    assert hooks.runs == 1


def test_command_when_the_device_has_no_hook_then_that_is_how_it_went(hooks: Hooks) -> None:
    """A verb without a hook is an outcome, which is told like any other; status names those that are there."""
    hooks.put("health", COUNTS)
    assert hooks.site.order(hooks.command(verb="suspend"))["code"] == "hook.missing"
    assert hooks.site.ask({"verb": "status"})["verbs"] == ["health"]


def test_command_when_the_disk_takes_nothing_then_it_does_not_run(hooks: Hooks) -> None:
    """What cannot be written down as begun is not begun."""
    hooks.put("message", COUNTS)
    envelope = hooks.command()
    (hooks.site.state_dir / ".command.json.new").mkdir()
    answer = hooks.site.order(envelope)
    assert (answer["ok"], answer["code"]) == (False, "runner.failed")
    assert hooks.runs == 0
