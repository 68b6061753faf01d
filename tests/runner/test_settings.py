"""Settings at the runner: on trial, put back by the device itself, kept once they are confirmed (B7)."""

import json
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from doorward_protocol.digests import digest_of

from tests.parts.files import write_whole
from tests.parts.waiting import wait_until
from tests.runner.site import Site

pytestmark = [pytest.mark.feature("B7", "I15"), pytest.mark.timeout(120)]

TRIAL_S = 5
OLD, NEW = {"address": "old"}, {"address": "new"}

READ = '#!/bin/sh\ncat > /dev/null\nprintf \'{{"values": %s}}\' "$(cat "{live}")"\n'
WRITE = """#!/bin/sh
echo {verb} >> "{marks}"
if [ -e "{marks}.{verb}-fails" ]; then echo 'the disk says no' >&2; exit 1; fi
if [ -e "{marks}.{verb}-waits" ]; then while [ -e "{marks}.{verb}-waits" ]; do sleep 0.05; done; fi
python3 -c 'import json,sys; print(json.dumps(json.load(sys.stdin)["arguments"]["values"]))' > "{live}.new"
mv "{live}.new" "{live}"
"""


class Settable:
    """A site whose settings are one file, and what its hooks did."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.live, self.marks = site.folder / "live", site.folder / "marks"
        folder = site.folder / "hooks"
        folder.mkdir(mode=0o755)
        write_whole(self.live, json.dumps(OLD))
        for verb, text in (("settings-read", READ), ("settings-apply", WRITE), ("settings-revert", WRITE)):
            path = write_whole(folder / verb, text.format(live=self.live, marks=self.marks, verb=verb))
            path.chmod(0o755)
        site.configure(hooks=[str(folder)], trial_s=TRIAL_S)

    @property
    def values(self) -> Any:
        return json.loads(self.live.read_text())

    @property
    def runs(self) -> list[str]:
        return self.marks.read_text().split() if self.marks.exists() else []

    def let(self, verb: str, how: str) -> Path:
        """Let a hook fail or wait, for as long as the file that is given is there."""
        return write_whole(Path(f"{self.marks}.{verb}-{how}"), "")

    def body(self, values: dict[str, Any] | None = None) -> str:
        return json.dumps({"values": NEW if values is None else values}, separators=(",", ":"))

    def order(self, body: str, **message: Any) -> dict[str, Any]:
        """Sign settings for the newest nonce, and hand them over."""
        self.site.ask({"verb": "status"})
        return self.site.order(self.site.envelope(body, part="settings", **message))

    def confirm(self, body: str, revision: int) -> dict[str, Any]:
        """Sign the confirmation of a trial, and hand it over."""
        self.site.ask({"verb": "status"})
        last = self.site.revision
        envelope = self.site.envelope(_confirmation(body, revision), part="confirm", revision=revision)
        self.site.revision = last
        return self.site.order(envelope)

    def tell(self) -> dict[str, Any]:
        return self.site.ask({"verb": "settings"})

    def wait_for(self, state: str) -> dict[str, Any]:
        """Wait until the settings stand so, without asking the runner: nobody may have to."""
        kept = self.site.state_dir / "settings.json"
        wait_until(lambda: json.loads(kept.read_text())["state"] == state, 30, f"settings that are {state}")
        return self.tell()


@pytest.fixture
def settable(site: Site) -> Settable:
    """A device that is set to OLD."""
    return Settable(site)


def test_settings_when_confirmed_then_they_stay(settable: Settable) -> None:
    """In force at once, on trial until the console's word, and nothing happens when the timer comes."""
    body = settable.body()
    trial = settable.order(body)
    assert (trial["ok"], trial["state"], settable.values) == (True, "trying", NEW), trial
    assert "new" not in json.dumps(trial)
    assert settable.confirm(body, settable.site.revision)["state"] == "confirmed"
    settable.site.as_root("revert")
    wait_until(lambda: not _timers(settable.site), 20, "the timer's end")
    assert (settable.tell()["state"], settable.values, settable.runs) == ("confirmed", NEW, ["settings-apply"])


def test_settings_when_nobody_confirms_then_the_device_puts_the_old_ones_back_by_itself(settable: Settable) -> None:
    """Nobody asks the runner for anything; the revision that failed is remembered and not tried again."""
    body = settable.body()
    settable.order(body)
    told = settable.wait_for("reverted")
    assert (told["code"], settable.values) == ("settings.unconfirmed", OLD)
    assert settable.confirm(body, settable.site.revision)["code"] == "settings.not-trying"
    assert settable.order(body, revision=settable.site.revision)["state"] == "reverted"
    assert settable.runs == ["settings-apply", "settings-revert"]


def test_settings_when_an_earlier_trial_was_confirmed_then_that_is_put_back(settable: Settable) -> None:
    """What was good is what was confirmed last, not what the device was made with."""
    first = settable.body({"address": "first"})
    settable.order(first)
    settable.confirm(first, settable.site.revision)
    settable.order(settable.body())
    settable.wait_for("reverted")
    assert settable.values == {"address": "first"}


def test_settings_when_others_come_during_a_trial_then_what_was_confirmed_is_put_back(settable: Settable) -> None:
    """The trial that was overtaken was never good, whatever the device is set to by now."""
    settable.order(settable.body({"address": "never confirmed"}))
    settable.order(settable.body())
    settable.wait_for("reverted")
    assert settable.values == OLD
    assert settable.runs == ["settings-apply", "settings-revert"] * 2  # a hook keeps what was before the last apply


@pytest.mark.parametrize("state", ["applying", "trying", "reverting", "failed"])
def test_settings_when_power_fails_in_the_middle_then_the_boot_puts_the_old_ones_back(
    settable: Settable, state: str
) -> None:
    """At each state: root's own command at boot leaves nothing half applied."""
    settable.order(settable.body())
    kept = settable.site.state_dir / "settings.json"
    settable.site.end_timers()
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"state": state, "boot": "0" * 32, "ends_s": 10**9}))
    settable.site.as_root("clear")
    assert (settable.tell()["state"], settable.values) == ("reverted", OLD)


def test_settings_when_they_are_on_trial_then_the_device_does_not_join_again(settable: Settable) -> None:
    """Another project's console could not confirm them, and what they would be put back to would be forgotten."""
    settable.order(settable.body())
    refused = settable.site.as_root("prepare")
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"on trial" in refused.stderr
    settable.wait_for("reverted")
    assert settable.site.as_root("prepare").returncode == 0


def test_settings_when_the_timer_was_killed_then_the_next_question_puts_the_old_ones_back(settable: Settable) -> None:
    """SIGKILL of everything: the agent asks every five minutes at the latest."""
    settable.order(settable.body())
    settable.site.end_timers()
    kept = settable.site.state_dir / "settings.json"
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"ends_s": 0}))
    settable.site.ask({"verb": "status"})
    assert settable.wait_for("reverted")["code"] == "settings.unconfirmed"
    assert settable.values == OLD


def test_settings_when_the_runner_is_killed_while_they_are_applied_then_they_are_put_back(settable: Settable) -> None:
    """Half applied is not left: what was written down as begun is over when the timer comes."""
    waits = settable.let("settings-apply", "waits")
    ordering = threading.Thread(target=lambda: _try_order(settable))
    ordering.start()
    wait_until(lambda: settable.runs == ["settings-apply"], 15, "the hook")
    for pid in settable.site.processes("doorward-runner"):
        os.kill(pid, signal.SIGKILL)
    waits.unlink()
    ordering.join(20)
    assert settable.wait_for("reverted")["code"] == "settings.unconfirmed"
    assert settable.values == OLD


def test_settings_when_the_hook_refuses_them_then_they_are_put_back_at_once(settable: Settable) -> None:
    """Settings that are not valid: no trial, the hook's own words, and the old ones applied anew."""
    fails = settable.let("settings-apply", "fails")
    answer = settable.order(settable.body())
    assert (answer["state"], answer["code"], answer["said"]) == ("reverted", "hook.failed", "the disk says no")
    fails.unlink()
    assert (settable.values, settable.runs) == (OLD, ["settings-apply", "settings-revert"])


@pytest.mark.parametrize(
    ("hook", "code", "why"),
    [
        ("#!/bin/sh\necho 'address: no' >&2\nexit 64\n", "hook.bad-arguments", "address: no"),
        ("#!/bin/sh\necho 'address: no' >&2\nexit 69\n", "hook.not-possible", "address: no"),
        ("#!/bin/sh\necho 'address: no' >&2\nexit 75\n", "hook.try-later", "address: no"),
        ("#!/bin/sh\r\nexit 0\r\n", "hook.not-started", "interpreter"),
    ],
)
def test_settings_when_nothing_was_changed_then_nothing_is_put_back(
    settable: Settable, hook: str, code: str, why: str
) -> None:
    """The hook says so, or never ran: to put back would be to undo the settings before, which were confirmed."""
    first = settable.body({"address": "first"})
    settable.order(first)
    settable.confirm(first, settable.site.revision)
    write_whole(settable.site.folder / "hooks" / "settings-apply", hook).chmod(0o755)
    told = settable.order(settable.body())
    assert (told["state"], told["code"], why in told["said"]) == ("reverted", code, True)
    assert (settable.values, settable.runs) == ({"address": "first"}, ["settings-apply"])


def test_settings_when_putting_back_fails_then_the_last_good_are_applied_and_else_it_is_said_and_tried_again(
    settable: Settable,
) -> None:
    """Two ways back; where neither works the state says so, and the next boot tries again."""
    settable.let("settings-revert", "fails")
    settable.order(settable.body())
    assert settable.wait_for("reverted")["state"] == "reverted"
    assert settable.values == OLD
    settable.order(settable.body())
    fails = settable.let("settings-apply", "fails")
    failed = settable.wait_for("failed")
    assert (failed["code"], failed["said"]) == ("settings.unconfirmed", "the disk says no")
    fails.unlink()
    kept = settable.site.state_dir / "settings.json"
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"ends_s": 0}))
    settable.site.ask({"verb": "status"})
    assert settable.wait_for("reverted")["state"] == "reverted"
    assert settable.values == OLD


def test_settings_when_the_device_cannot_say_how_it_is_set_then_nothing_is_changed(settable: Settable) -> None:
    """What cannot be put back is not tried."""
    (settable.site.folder / "hooks/settings-read").unlink()
    answer = settable.order(settable.body())
    assert (answer["state"], answer["code"]) == ("reverted", "settings.not-read")
    assert (settable.values, settable.runs) == (OLD, [])


@pytest.mark.threat("agent-unsigned")
def test_confirmation_when_it_is_not_of_this_trial_then_it_confirms_nothing(settable: Settable) -> None:
    """It names revision and digest; before a trial, of another one, or while hooks are at work it is refused."""
    body = settable.body()
    assert settable.confirm(body, 1)["code"] == "settings.not-trying"
    settable.order(body)
    trial = settable.site.revision
    assert settable.confirm(body, trial + 1)["code"] == "settings.not-trying"
    assert settable.confirm(settable.body({"address": "other"}), trial)["code"] == "settings.not-trying"
    assert settable.wait_for("reverted")["state"] == "reverted"
    assert settable.values == OLD


@pytest.mark.parametrize("over", [{"ends_s": 0}, {"boot": "0" * 32}], ids=["too late", "of another boot"])
def test_confirmation_when_the_trial_is_over_then_the_old_ones_come_back_all_the_same(
    settable: Settable, over: dict[str, Any]
) -> None:
    """In time means in time, also where the timer was killed and nobody has put anything back yet."""
    body = settable.body()
    settable.order(body)
    settable.site.end_timers()
    kept = settable.site.state_dir / "settings.json"
    trial = settable.site.envelope(
        _confirmation(body, settable.site.revision), part="confirm", revision=settable.site.revision
    )
    kept.write_text(json.dumps(json.loads(kept.read_text()) | over))
    assert settable.site.order(trial)["code"] == "settings.not-trying"
    settable.tell()
    assert settable.wait_for("reverted")["state"] == "reverted"
    assert settable.values == OLD


def _confirmation(body: str, revision: int) -> dict[str, Any]:
    return {"settings": {"epoch": 0, "revision": revision, "digest": digest_of(body.encode())}}


def _try_order(settable: Settable) -> None:
    with suppress(AssertionError, ValueError):  # the runner was killed while we waited for its answer
        settable.order(settable.body())


def _timers(site: Site) -> list[int]:
    return site.processes("revert")
