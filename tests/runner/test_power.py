"""Power lost while settings are tried, with the hooks that come along: the boot leaves what was confirmed last, whatever the moment (B7).

The machine has a boot id, a host name and an /etc of its own. What is set is its host name: that needs no network.
"""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from doorward_protocol.digests import digest_of

from tests.house.machine import Machine
from tests.parts.files import write_whole
from tests.parts.ports import free_port
from tests.parts.processes import Programs
from tests.protocol.cast import DEVICE, GRANT_KEY, PROJECT, Draft
from tests.runner.hook_bench import FIRMWARE
from tests.runner.programs import RUNNER

pytestmark = [pytest.mark.feature("B7", "I15"), pytest.mark.real("root", "unshare"), pytest.mark.timeout(240)]

DIES: Final = """
import os, signal, sys
def dies(event, about):
    if event == "open" and about[0] == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(dies)
from doorward_runner.__main__ import main
sys.exit(main([]))
"""
"""The runner, killed as soon as it opens a hook of this name to start it."""
POWER_FAILS: Final = "kill -9 -1"
"""In a hook on the machine: everything on it ends, and with it whoever was to see how the hook went."""
CHANGES_SOMETHING: Final = re.compile(r"\s*(sync|mv|rm|mkdir|hostname)( |$)")


@dataclass(slots=True)
class Settable:
    """A joined machine with settings hooks."""

    machine: Machine
    revision: int = field(default=0)

    def boot(self) -> None:
        """Switch it on; its init names it and then lets the runner clear what is left."""
        self.machine.power_on()
        self.machine.must("/bin/hostname", "-F", "/etc/hostname")

    def restart(self) -> None:
        """Cut its power and boot it, with the hooks as they came along."""
        self.machine.cut_power()
        self.put_hooks()
        self.boot()
        self.machine.must(RUNNER, "clear")

    def put_hooks(self) -> None:
        for hook in FIRMWARE.glob("settings-*"):
            shutil.copy2(hook, self.hook(hook.name))

    def hook(self, verb: str) -> Path:
        return self.machine.folder / "etc/doorward/hooks" / verb

    def line(self, body: dict[str, Any], **message: Any) -> bytes:
        """Sign an order for the newest nonce, as the line that the agent hands over."""
        self.machine.must(RUNNER, stdin=b'{"verb": "status"}\n')
        nonce = self.machine.inside("/run/doorward-runner/nonce").read_text().split()[0]
        text = json.dumps(body, separators=(",", ":"))
        raw = Draft(text, {"epoch": 0, "runner_nonce": nonce, **message}, signer=GRANT_KEY).raw()
        return json.dumps({"verb": "order", "envelope": json.loads(raw), "port": free_port()}).encode() + b"\n"

    def name(self, name: str) -> bytes:
        """Sign that the machine is to be called so."""
        self.revision += 1
        return self.line({"values": {"hostname": name}}, part="settings", revision=self.revision)

    def confirm(self, name: str) -> None:
        """Try a name and confirm it."""
        body = json.dumps({"values": {"hostname": name}}, separators=(",", ":"))
        trial = json.loads(self.machine.must(RUNNER, stdin=self.name(name)))
        assert trial["state"] == "trying", trial
        named = {"settings": {"epoch": 0, "revision": self.revision, "digest": digest_of(body.encode())}}
        answer = json.loads(self.machine.must(RUNNER, stdin=self.line(named, part="confirm", revision=self.revision)))
        assert answer["state"] == "confirmed", answer

    def state(self) -> str:
        told = json.loads(self.machine.must(RUNNER, stdin=b'{"verb": "settings"}\n'))
        return str(told["state"])

    def names(self) -> tuple[str, str, bool]:
        """Give how it is called by its kernel and on its disk, and whether it can resolve that."""
        on_disk = (self.machine.folder / "etc/hostname").read_text().strip()
        hosts = (self.machine.folder / "etc/hosts").read_text().split()
        return self.machine.must("/bin/hostname").strip(), on_disk, on_disk in hosts


CONFIRMED: Final = ("confirmed", "confirmed", True)


@pytest.fixture
def settable(scratch: Path, programs: Programs) -> Iterator[Settable]:
    """A machine whose settings have been confirmed twice: the hooks hold what was before the second time."""
    machine = Machine("settable", scratch / "settable", programs)
    machine.prepare()
    made = Settable(machine)
    etc = machine.folder / "etc"
    (etc / "doorward/hooks").mkdir(parents=True, exist_ok=True)
    made.put_hooks()
    write_whole(etc / "doorward/runner.toml", 'hooks = ["/etc/doorward/hooks"]\n')
    write_whole(etc / "hostname", "as-made\n")
    made.boot()
    pins = {"device": DEVICE, "project": PROJECT, "grant_keys": [GRANT_KEY.public], "host_certificate": None}
    machine.must(RUNNER, "prepare")
    machine.must(RUNNER, "pin", stdin=json.dumps(pins).encode())
    made.confirm("first")
    made.confirm("confirmed")
    yield made
    machine.cut_power()


@pytest.mark.parametrize("verb", ["settings-apply", "settings-revert"])
def test_settings_when_power_fails_before_a_hook_starts_then_the_boot_goes_no_further_back_than_the_last_good(
    settable: Settable, verb: str
) -> None:
    """Written down as begun, and nothing was: what the hook kept before the last good ones is not what is put back.

    Killed before the revert that comes first where settings overtake others on trial, it is just that which has to be done.
    """
    if verb == "settings-revert":
        settable.machine.must(RUNNER, stdin=settable.name("overtaken"))
    killed = settable.machine.run(sys.executable, "-c", DIES, verb, stdin=settable.name("never-begun"))
    assert killed.returncode != 0
    kept = json.loads((settable.machine.folder / "var/lib/doorward-runner/settings.json").read_text())
    assert (kept["state"], kept["values"]) == ("applying", {"hostname": "never-begun"})
    settable.restart()
    assert (settable.state(), settable.names()) == ("reverted", CONFIRMED)
    settable.confirm("next")  # and it can still be set
    assert settable.names() == ("next", "next", True)


def test_settings_when_power_fails_anywhere_in_a_hook_then_the_boot_brings_the_last_good_back(
    settable: Settable,
) -> None:
    """Before each line that changes something, of the hook that applies and of the one that puts back; again and again on one disk."""
    for verb in ("settings-apply", "settings-revert"):
        lines = (FIRMWARE / verb).read_text().splitlines()
        cuts = [number for number, line in enumerate(lines) if CHANGES_SOMETHING.match(line)]
        reached = 0
        for number in cuts:
            if verb == "settings-revert":
                settable.machine.must(RUNNER, stdin=settable.name("failed"))
                settable.machine.cut_power()
                settable.boot()
            cut = [*lines[:number], POWER_FAILS, *lines[number:]]
            write_whole(settable.hook(verb), "\n".join(cut) + "\n", 0o755)
            stopped = settable.machine.run(RUNNER, *([] if verb == "settings-apply" else ["clear"]), stdin=(
                settable.name(f"failed-{number}") if verb == "settings-apply" else b""
            ))  # fmt: skip
            reached += stopped.returncode != 0
            settable.restart()
            assert (settable.state(), settable.names()) == ("reverted", CONFIRMED), (verb, number + 1, lines[number])
        assert reached >= 5, f"{verb}: power failed at {reached} of {cuts}"
