"""The hooks that come along, run as the runner runs them, in a file system, a network and a host name of their own.

What would touch the machine itself (its restart, its service manager) is a stand-in there that notes how it was called;
ifupdown, iproute2 and the host name are the real ones. NetworkManager and systemd-networkd are in ``test_network_managers``.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from doorward_runner.edges.hooks import VERBS

from tests.parts.files import scratch_folder, write_whole
from tests.parts.installed import require
from tests.runner.hook_bench import FIRMWARE, NEXT, Bench, told

pytestmark = pytest.mark.real("root", "unshare", "ip")

STAND_INS: Final = ("systemctl", "shutdown", "reboot", "poweroff", "wall")
NOTE: Final = """#!/bin/sh
# Notes how it was called, and what it was told on its standard input where that is part of its work.
{ echo "${0##*/} $*"; [ "${0##*/}" != wall ] || sed 's/^/| /'; } >>"$DOORWARD_STATE/called"
"""
OWN_WORLD: Final = """
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs tmpfs /sys
cp -r "$TOP/sys/." /sys
mount -t overlay -o "lowerdir=$TOP/stand-ins:/usr/bin" overlay /usr/bin
mount -t overlay -o "lowerdir=$TOP/stand-ins:/usr/sbin" overlay /usr/sbin
mount -t overlay -o "lowerdir=/etc,upperdir=$TOP/etc,workdir=$TOP/work" overlay /etc
for folder in $RUNS; do mkdir -p "/run/$folder"; done
hostname "$(cat /etc/hostname)"
ip link set lo up
ip link add wired0 type veth peer name far0
ip link set far0 up
[ ! -e /etc/network/interfaces ] || ifup --force wired0 2>/dev/null || true
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of its own for each hook that runs; its /etc stays."""

    top: Path

    @property
    def etc(self) -> Path:
        return self.top / "etc"

    def run(
        self, verb: str, arguments: Mapping[str, Any] | None = None, *, has: str = "", then: str = "true"
    ) -> Mapping[str, Any]:
        """Run a hook where ``has`` names what runs there (folders of /run), and ``then`` a command in the same world."""
        return self._bench(has, then).run(verb, told(verb, arguments))

    def _bench(self, has: str, then: str) -> Bench:
        world = f"TOP='{self.top}' RUNS='{has}'\n{OWN_WORLD}\n\"$@\"\n{{ {then}; }} >'{self.top}/seen' 2>&1 || true"
        unshare = [str(require("unshare")), "--mount", "--uts", "--net", "--propagation", "private"]
        return Bench(self.top / "b", "root", (*unshare, "/bin/sh", "-ec", world, "sh"))

    def called(self) -> list[str]:
        """Give how the stand-ins were called since this was asked last."""
        notes = self.top / "b" / "place" / "state" / "called"
        lines = notes.read_text().splitlines() if notes.exists() else []
        notes.unlink(missing_ok=True)
        return lines

    def seen(self) -> str:
        """Give what the last command saw that ran after a hook."""
        return (self.top / "seen").read_text()

    def file(self, path: str, text: str) -> None:
        """Write a file below /etc."""
        (self.etc / path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.etc / path, text)


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine with the hooks that come along, and with nothing that runs a network."""
    with scratch_folder() as top:
        for folder in ("etc/network", "work", "stand-ins", "sys"):
            (top / folder).mkdir(parents=True)
        for name in STAND_INS:
            write_whole(top / "stand-ins" / name, NOTE, 0o755)
        made = Machine(top)
        made.file("network/interfaces", "auto lo\niface lo inet loopback\n")
        made.file("hostname", "before\n")
        bench = Bench(top / "b", "root").settle()
        for hook in (FIRMWARE / verb for verb in VERBS):
            shutil.copy2(hook, bench.ours / hook.name)
        yield made


def test_hooks_when_they_come_along_then_there_is_one_for_each_verb(machine: Machine) -> None:
    """All are safe and executable as they lie in the checkout, explain themselves, and never evaluate a text."""
    assert machine._bench("", "true").available() == sorted(VERBS)
    assert {path.name for path in FIRMWARE.iterdir()} == {*VERBS, "README.md"}
    for verb in VERBS:
        script = (FIRMWARE / verb).read_text()
        assert script.startswith("#!/bin/sh\n# ")
        assert not any(word in script for word in ("eval ", "`", "sh -c", ". $", '. "$'))


@pytest.mark.feature("I11")
@pytest.mark.parametrize(
    ("verb", "has", "call"),
    [
        ("reboot", "systemd/system", "systemctl --no-block reboot"),
        ("reboot", "", "shutdown -r now"),
        ("shutdown", "systemd/system", "systemctl --no-block poweroff"),
        ("shutdown", "", "shutdown -h -P now"),
        ("suspend", "systemd/system", "systemctl suspend"),
    ],
)
def test_machine_when_it_is_to_restart_or_rest_then_its_own_init_is_asked(
    machine: Machine, verb: str, has: str, call: str
) -> None:
    """systemd where it is the init system, else what the machine has."""
    if has:  # under systemd the runner would start a unit; here there is none
        has = f"{has}.d"
        for hook in (machine.top / "b" / "ours").iterdir():
            hook.write_text(hook.read_text().replace("/run/systemd/system", "/run/systemd/system.d"))
    ran = machine.run(verb, has=has)
    assert (ran["code"], ran["said"]) == (None, "")
    assert machine.called() == [call]


@pytest.mark.parametrize("for_s", [9, 0, -600, 600.5, "600", "600; reboot", None, 99_999_999, [600]])
def test_suspend_when_its_time_is_no_time_then_the_machine_stays_awake(machine: Machine, for_s: object) -> None:
    """Asleep for good is not what was asked for."""
    ran = machine.run("suspend", {"for_s": for_s})
    assert (ran["code"], machine.called()) == ("hook.bad-arguments", [])


def test_suspend_when_the_machine_wakes_by_itself_then_its_clock_is_set_first(machine: Machine) -> None:
    """The kernel's own files: an old alarm is taken back, the new one set, and only then does it sleep."""
    for path, holds in (("sys/power/state", "freeze mem disk\n"), ("sys/class/rtc/rtc0/wakealarm", "1\n")):
        (machine.top / path).parent.mkdir(parents=True)
        write_whole(machine.top / path, holds)
    ran = machine.run("suspend", {"for_s": 600}, then="cat /sys/class/rtc/rtc0/wakealarm /sys/power/state")
    assert (ran["code"], ran["said"], machine.seen()) == (None, "", "+600\nmem\n")


def test_suspend_when_the_machine_cannot_then_it_says_so(machine: Machine) -> None:
    """Neither memory sleep nor a clock that wakes it: not possible here, and nothing happened."""
    ran = machine.run("suspend", {"for_s": 600})
    assert (ran["code"], machine.called()) == ("hook.not-possible", [])


@pytest.mark.feature("I13")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Please keep it switched on.", "Please keep it switched on."),
        ("$(reboot) `reboot` '; reboot; \" && reboot \\n %s *", "$(reboot) `reboot` '; reboot; \" && reboot \\n %s *"),
        ("two\nlines\x1b[31m\x07 and ü", "two lines [31m and ü"),
        ("-n --help", "-n --help"),
    ],
)
def test_message_when_shown_then_it_is_text_and_nothing_else(machine: Machine, text: str, shown: str) -> None:
    """No shell evaluates it, no terminal obeys it."""
    ran = machine.run("message", {"title": "From the workshop", "text": text})
    assert (ran["code"], ran["said"], ran["result"]) == (None, "", {"shown": ["terminals"]})
    assert machine.called() == ["wall ", f"| From the workshop: {shown}"]


@pytest.mark.parametrize("arguments", [{}, {"text": ""}, {"text": 1}, {"text": "x" * 2001}, {"text": "x", "title": []}])
def test_message_when_it_is_none_then_it_is_refused(machine: Machine, arguments: Mapping[str, Any]) -> None:
    """Bad arguments have their own code."""
    assert (machine.run("message", arguments)["code"], machine.called()) == ("hook.bad-arguments", [])


@pytest.mark.feature("I16")
def test_system_info_and_health_when_asked_then_they_are_said(machine: Machine) -> None:
    """Facts of this machine, in the form that the contract promises."""
    (machine.top / "stand-ins" / "systemctl").unlink()
    info = machine.run("system-info", then="ip link show wired0")
    assert info["code"] is None, info
    result = info["result"]
    assert (result["hostname"], result["uptime_s"] > 0, result["memory_kb"]["total"] > 0) == ("before", True, True)
    assert result["disks_kb"]["/"]["total"] > result["disks_kb"]["/"]["free"]
    health = machine.run("health")
    assert health["code"] is None, health
    assert isinstance(health["result"]["healthy"], bool)
    assert [check["name"] for check in health["result"]["checks"]][:3] == ["disk", "memory", "clock"]


@pytest.mark.feature("I14")
def test_factory_reset_when_the_device_says_what_then_that_is_removed_and_it_restarts(machine: Machine) -> None:
    """What is listed goes, what is not stays; again is no failure; without a list nothing is possible."""
    assert machine.run("factory-reset")["code"] == "hook.not-possible"
    for path in ("app/settings", "app/data/one", "other"):
        machine.file(path, "kept")
    machine.file("doorward/factory-reset.paths", "# ours\n/etc/app/settings\n/etc/app/data  # all of it\n\n")
    for _ in range(2):
        assert machine.run("factory-reset", then="ls /etc/app /etc/other")["code"] is None
        assert machine.called() == ["shutdown -r now"]
        assert machine.seen() == "/etc/other\n\n/etc/app:\n"


@pytest.mark.parametrize(
    "path",
    ["/", "/etc", "//etc/app", "/etc/../etc", "etc/app", "/etc/app; reboot", "/usr/lib/x", "/etc/doorward", "/var/lib",
     "/var/lib/doorward-runner", "/etc/app\n/etc/$(reboot)", "/dev/sda", "/e*"],
)  # fmt: skip
def test_factory_reset_when_its_list_goes_too_far_then_nothing_is_removed(machine: Machine, path: str) -> None:
    """One line that is wrong stops all of it, before the first file is gone."""
    machine.file("app", "kept")
    machine.file("doorward/factory-reset.paths", f"/etc/app\n{path}\n")
    ran = machine.run("factory-reset", then="cat /etc/app")
    assert (ran["code"], machine.called(), machine.seen()) == ("hook.not-possible", [], "kept")
    assert "nothing was removed" in ran["said"]


STATIC: Final = {"interface": "wired0", "method": "static", "address": "10.9.8.7/24", "gateway": "10.9.8.1"}
INTERFACES: Final = """# the maker's
auto lo
iface lo inet loopback

auto wired0
iface wired0 inet static
    address 10.1.1.5/24
    up true
iface wired0 inet6 manual
"""


@pytest.mark.feature("I15")
@pytest.mark.parametrize("hosts", ["", "127.0.0.1 localhost\n", "127.0.1.1 other\n"])
def test_settings_when_the_machine_gets_a_name_then_it_can_resolve_it(machine: Machine, hosts: str) -> None:
    """One that cannot makes sudo wait for its name server, ten seconds a call."""
    machine.file("hosts", hosts)
    for name in ("pump-7", "pump-8"):
        ran = machine.run("settings-apply", {"values": {"hostname": name}}, then=f"grep -w {name} /etc/hosts; hostname")
        assert (ran["code"], ran["status"]) == (None, 0), ran
        other = " other" if "other" in hosts else ""
        assert machine.seen() in {f"127.0.1.1{other} {name}\n{name}\n", f"127.0.1.1{other}\t{name}\n{name}\n"}


@pytest.mark.feature("I15")
@pytest.mark.real("ifup")
def test_settings_when_ifupdown_has_the_interface_then_they_are_in_force_and_come_back(machine: Machine) -> None:
    """Applied, read back, and reverted by the real ifupdown; what was not named stays."""
    machine.file("network/interfaces", INTERFACES)
    machine.file("resolv.conf", "nameserver 10.1.1.1\n")
    hosts = "127.0.0.1 localhost\n127.0.1.1 before.example before press\n10.1.1.9 before-us\n"
    machine.file("hosts", hosts)
    look = "ip -4 -o addr show dev wired0; ip route; hostname; cat /etc/hosts /etc/network/interfaces /etc/resolv.conf"
    settings = {"hostname": "pump-7", "network": {**STATIC, "dns": ["10.9.8.1", "10.9.8.2"]}}
    ran = machine.run("settings-apply", {"values": settings}, then=look)
    assert (ran["code"], ran["status"]) == (None, 0), ran
    seen = machine.seen()
    assert "inet 10.9.8.7/24" in seen
    assert "default via 10.9.8.1" in seen
    assert "10.1.1.5" not in seen
    assert "\npump-7\n127.0.0.1 localhost\n127.0.1.1 pump-7.example pump-7 press\n10.1.1.9 before-us\n" in seen
    assert "iface wired0 inet6 manual" in seen
    assert "nameserver 10.9.8.1\nnameserver 10.9.8.2" in seen
    read = machine.run("settings-read")
    assert read["result"]["values"] == settings
    assert read["result"]["schema"]["properties"].keys() == settings.keys()
    for _ in range(2):  # once more is no failure
        assert machine.run("settings-revert", then=look)["code"] is None
        seen = machine.seen()
        assert "inet 10.1.1.5/24" in seen
        assert "default" not in seen
        assert f"\nbefore\n{hosts}{INTERFACES}nameserver 10.1.1.1\n" in seen


@pytest.mark.real("ifup")
def test_settings_when_an_apply_was_cut_off_then_revert_brings_back_what_was_before_the_first(machine: Machine) -> None:
    """Half-applied settings are never taken for the good ones, however often it is tried."""
    machine.file("network/interfaces", INTERFACES)
    machine.file("hostname", "before\n")
    # Debian's ifdown is the same program by another name.
    killer = '#!/bin/sh\n[ "${0##*/}" != ifup ] || [ ! -e "$DOORWARD_STATE/settings/before" ] || kill -9 $PPID\n'
    write_whole(machine.top / "stand-ins" / "ifup", killer, 0o755)
    for _ in range(2):
        ran = machine.run("settings-apply", {"values": {"hostname": "half", "network": STATIC}})
        assert (ran["code"], ran["status"]) == ("hook.failed", 137), ran
        assert "10.9.8.7" in (machine.etc / "network/interfaces").read_text()
    (machine.top / "stand-ins" / "ifup").unlink()
    assert machine.run("settings-revert", then="hostname; ip -4 -o addr show dev wired0")["code"] is None
    assert machine.seen().startswith("before\n")
    assert "inet 10.1.1.5/24" in machine.seen()
    assert (machine.etc / "network/interfaces").read_text() == INTERFACES


@pytest.mark.feature("I15", "B7")
@pytest.mark.parametrize("failed", [None, {"hostname": "-not valid-"}, {"network": {**STATIC, "interface": "none0"}}])
def test_settings_when_an_apply_never_began_or_changed_nothing_then_revert_leaves_those_that_were_confirmed_before(
    machine: Machine, failed: dict[str, Any] | None
) -> None:
    """What was confirmed stays, though the hook still has what was before it; and it is what later ones go back to, once and again."""
    machine.file("hostname", "before\n")
    assert machine.run("settings-apply", {"values": {"hostname": "confirmed"}})["code"] is None
    if failed is not None:
        assert machine.run("settings-apply", {"values": failed, "base": NEXT})["code"] == "hook.bad-arguments"
    reverted = {"values": {"hostname": "confirmed"}, "failed": failed or {"hostname": "other"}, "base": NEXT}
    assert machine.run("settings-revert", reverted, then="hostname")["code"] is None
    assert machine.seen() == "confirmed\n"
    assert machine.run("settings-apply", {"values": {"hostname": "other"}, "base": NEXT})["code"] is None
    for _ in range(2):
        assert machine.run("settings-revert", reverted, then="hostname")["code"] is None
        assert machine.seen() == "confirmed\n"


def test_settings_when_they_were_put_back_and_changed_by_hand_then_the_next_revert_keeps_that(machine: Machine) -> None:
    """What was put back is done with: an engineer mends the device, and later settings that fail do not undo it."""
    assert machine.run("settings-apply", {"values": {"hostname": "failed"}})["code"] is None
    assert machine.run("settings-revert")["code"] is None
    machine.file("hostname", "mended\n")
    assert machine.run("settings-revert", then="hostname")["code"] is None
    assert machine.seen() == "mended\n"
    assert machine.run("settings-apply", {"values": {"hostname": "failed-too"}})["code"] is None
    assert machine.run("settings-revert", then="hostname")["code"] is None
    assert machine.seen() == "mended\n"


@pytest.mark.real("ifup")
def test_settings_when_a_revert_was_cut_off_then_the_next_brings_the_good_ones_back(machine: Machine) -> None:
    """What is half put back, or still wrong, is never taken for good, whatever comes in between."""
    machine.file("network/interfaces", INTERFACES)
    machine.file("hostname", "before\n")
    assert machine.run("settings-apply", {"values": {"hostname": "other", "network": STATIC}})["code"] is None
    # Debian's ifdown is the same program by another name.
    killer = '#!/bin/sh\n[ "${0##*/}" != ifdown ] || kill -9 $PPID\n'
    for name in ("ifup", "ifdown"):
        write_whole(machine.top / "stand-ins" / name, killer, 0o755)
    assert machine.run("settings-revert")["status"] == 137
    assert machine.run("settings-apply", {"values": {"hostname": "-not valid-"}})["code"] == "hook.bad-arguments"
    for name in ("ifup", "ifdown"):
        (machine.top / "stand-ins" / name).unlink()
    assert machine.run("settings-revert", then="hostname")["code"] is None
    assert machine.seen() == "before\n"
    assert (machine.etc / "network/interfaces").read_text() == INTERFACES


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (None, "hook.bad-arguments"),
        ({"colour": "red"}, "hook.bad-arguments"),
        ({"hostname": "$(reboot)"}, "hook.bad-arguments"),
        ({"hostname": "a\nb"}, "hook.bad-arguments"),
        ({"network": {**STATIC, "interface": "absent0"}}, "hook.bad-arguments"),
        ({"network": {**STATIC, "interface": "../etc"}}, "hook.bad-arguments"),
        ({"network": {**STATIC, "address": "10.9.8.7"}}, "hook.bad-arguments"),
        ({"network": {**STATIC, "gateway": "10.7.7.7"}}, "hook.bad-arguments"),
        ({"network": {**STATIC, "dns": ["10.9.8.1\nup reboot"]}}, "hook.bad-arguments"),
        ({"network": {**STATIC, "up": "reboot"}}, "hook.bad-arguments"),
        ({"network": STATIC}, "hook.not-possible"),
    ],
)
def test_settings_when_they_are_not_valid_or_nobodys_then_nothing_is_changed(
    machine: Machine, settings: object, code: str
) -> None:
    """All of it is looked at before the first thing is touched."""
    before = {path: path.read_bytes() for path in machine.etc.rglob("*") if path.is_file()}
    ran = machine.run("settings-apply", {"values": settings}, then="hostname")
    assert (ran["code"], ran["said"] != "") == (code, True), ran
    assert machine.seen() == "before\n"
    assert {path: path.read_bytes() for path in machine.etc.rglob("*") if path.is_file()} == before
    assert not any(call.split()[0] in ("shutdown", "reboot") for call in machine.called())


def test_settings_when_nothing_was_ever_applied_then_revert_does_nothing(machine: Machine) -> None:
    """The runner may always ask for it."""
    ran = machine.run("settings-revert")
    assert (ran["code"], ran["said"], machine.called()) == (None, "", [])
