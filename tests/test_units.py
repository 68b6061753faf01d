"""The units, the sudoers line and the script, as an installation gets them."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.parts.confined import UNITS, settings_of
from tests.parts.files import write_whole
from tests.parts.installed import require
from tests.parts.processes import run

NAMES: Final = sorted(path.name for path in UNITS.iterdir() if path.suffix in {".service", ".socket", ".timer"})
PROGRAMS: Final = (
    "bin/doorward-agent", "bin/doorward-runner", "bin/doorward-console", "bin/doorward-relay", "bin/sh", "bin/kill", "sbin/sshd",
)  # fmt: skip

MOST_EXPOSED: Final[Mapping[str, float]] = {
    "doorward-agent": 1.4,
    "doorward-console@": 1.2,
    "doorward-relay-embedded": 1.3,
    # Root: ends other users' connections, reads whose they are, gives its socket to the tunnel user.
    "doorward-relay": 2.7,
    # Root: sessions change to the tunnel user, and the part that strangers speak to is locked in an empty folder.
    "doorward-relay-sshd": 3.0,
    # Root, because the door is; see the unit.
    "doorward-runner@": 1.7,
    "doorward-runner-clear": 1.4,
    "doorward-runner-nonce": 0.9,
}
"""By systemd's own measure, of 10; a service without any of it has 9.6. A change may lower them."""

WATCHED: Final = ("doorward-agent", "doorward-console@", "doorward-relay", "doorward-relay-embedded")
"""Programs of ours that stay and have a loop."""


@pytest.fixture
def tree(scratch: Path) -> Path:
    """A file tree with systemd's own units, ours, and programs where ours expect them."""
    root = scratch / "root"
    for folder in ("usr/bin", "usr/sbin"):
        (root / folder).mkdir(parents=True)
    shutil.copytree("/usr/lib/systemd/system", root / "usr/lib/systemd/system", symlinks=True)
    for name in ("lib", "bin", "sbin"):
        (root / name).symlink_to(f"usr/{name}")
    for program in PROGRAMS:
        write_whole(root / "usr" / program, "", 0o755)
    for name in NAMES:
        write_whole(root / "usr/lib/systemd/system" / name, (UNITS / name).read_text())
    return root


def _verify(tree: Path) -> str:
    """Give everything that systemd says about our units; its exit status is 0 even for keys that it does not know."""
    names = [name.replace("@.", "@web.") for name in NAMES]
    ran = run([require("systemd-analyze"), f"--root={tree}", "--man=no", "verify", *names])
    return (ran.stdout + ran.stderr).decode()


def _exposure(tree: Path, service: str) -> float:
    """Ask systemd how exposed a service is."""
    ran = run([
        require("systemd-analyze"), f"--root={tree}", "security", "--offline=true", "--no-pager", f"{service}.service",
    ])  # fmt: skip
    told = re.search(r"Overall exposure level for \S+: ([\d.]+)", ran.stdout.decode())
    assert told is not None, ran
    return float(told[1])


def test_units_when_verified_then_systemd_has_nothing_to_say(tree: Path) -> None:
    """Any output is a failure."""
    assert len(NAMES) == 10
    assert _verify(tree) == ""


@pytest.mark.parametrize(
    ("name", "was", "becomes"),
    [
        ("doorward-agent.service", "ProtectSystem=", "ProtectSystems="),
        ("doorward-relay.service", "WatchdogSec=60", "WatchdogSec=soon"),
        ("doorward-runner.socket", "Accept=yes", "Accept=maybe"),
        ("doorward-runner@.service", "/usr/bin/doorward-runner", "/usr/bin/absent"),
    ],
)
def test_units_when_one_is_wrong_then_verifying_says_so(tree: Path, name: str, was: str, becomes: str) -> None:
    """The test above can fail."""
    path = tree / "usr/lib/systemd/system" / name
    write_whole(path, path.read_text().replace(was, becomes))
    assert _verify(tree) != ""


TARGETS: Final = ("sysinit", "sockets", "timers", "basic", "multi-user")
"""What a boot goes through."""


def _boot(tree: Path) -> str:
    """Enable all units, and give everything that systemd says about a boot with them."""
    listed = [path for path in (tree / "usr/lib/systemd/system").glob("doorward-*") if "[Install]" in path.read_text()]
    names = [path.name.replace("@.", "@web.") for path in listed]
    assert len(names) == 8
    enabled = run(["/usr/bin/systemctl", f"--root={tree}", "enable", *names])
    assert enabled.returncode == 0, enabled.stderr.decode()
    targets = [f"{name}.target" for name in TARGETS]
    ran = run([require("systemd-analyze"), f"--root={tree}", "--man=no", "verify", *targets])
    return (ran.stdout + ran.stderr).decode()


def test_units_when_all_are_enabled_then_the_machine_boots_as_it_did(tree: Path) -> None:
    """No unit of ours waits for what waits for it: of such a circle systemd drops some job, which may be all other sockets."""
    assert _boot(tree) == ""


@pytest.mark.parametrize(
    ("name", "was", "becomes"),
    [
        ("doorward-runner-clear.service", "Before=doorward-agent.service", "Before=doorward-runner.socket"),
        ("doorward-runner.socket", "[Socket]", "After=multi-user.target\n[Socket]"),
    ],
)
def test_units_when_one_waits_for_what_waits_for_it_then_that_is_said(
    tree: Path, name: str, was: str, becomes: str
) -> None:
    """The test above can fail."""
    path = tree / "usr/lib/systemd/system" / name
    write_whole(path, path.read_text().replace(was, becomes))
    assert "ordering cycle" in _boot(tree)


def test_services_when_rated_then_none_is_more_exposed_than_it_was(tree: Path) -> None:
    """Each by its own number, the agent at most 2.0."""
    services = {name.removesuffix(".service") for name in NAMES if name.endswith(".service")}
    assert services == set(MOST_EXPOSED)
    assert MOST_EXPOSED["doorward-agent"] <= 2.0
    rated = {service: _exposure(tree, service) for service in services}
    assert {service: rate for service, rate in rated.items() if rate > MOST_EXPOSED[service]} == {}


def test_services_when_one_loses_a_protection_then_its_rate_says_so(tree: Path) -> None:
    """The test above can fail."""
    path = tree / "usr/lib/systemd/system/doorward-agent.service"
    write_whole(path, path.read_text().replace("NoNewPrivileges=yes", ""))
    assert _exposure(tree, "doorward-agent") > MOST_EXPOSED["doorward-agent"]


@pytest.mark.feature("E9")
@pytest.mark.parametrize("service", WATCHED)
def test_service_when_its_loop_hangs_then_its_unit_has_it_restarted_for_ever(service: str) -> None:
    """systemd waits for words that only the program itself can say, and no number of failures makes it give up."""
    settings = settings_of(UNITS / f"{service}.service")
    wanted = {"Type": ["notify"], "NotifyAccess": ["main"], "Restart": ["always"], "StartLimitIntervalSec": ["0"]}
    assert {key: settings[key] for key in wanted} == wanted
    assert 30 <= int(settings["WatchdogSec"][0]) <= 300


def test_agent_when_idle_under_its_unit_then_the_watchdog_hardly_wakes_it() -> None:
    """It speaks twice in a limit; an idle device may wake 1.5 times a second and has 0.2."""
    assert 2 / int(settings_of(UNITS / "doorward-agent.service")["WatchdogSec"][0]) < 0.02


def test_units_when_they_name_a_script_then_it_is_one_of_ours() -> None:
    """Paths in units are where the wheel's shared data go."""
    named = re.findall(r"/usr/share/doorward/systemd/(\S+)", (UNITS / "doorward-runner-nonce.service").read_text())
    assert [(UNITS / name).is_file() for name in named] == [True]


def test_sudoers_line_when_checked_then_it_is_right_and_allows_no_argument() -> None:
    """sudo's own judgement, and the one fixed command."""
    path = UNITS / "doorward-runner.sudoers"
    require("sudo")
    ran = run(["/usr/sbin/visudo", "-c", "-f", path])
    assert ran.returncode == 0, ran.stdout.decode()
    rules = [line for line in path.read_text().splitlines() if "NOPASSWD" in line]
    assert rules == ['doorward-agent ALL=(root) NOPASSWD: /usr/bin/doorward-runner ""']


@pytest.mark.real("root", "sudo", "unshare")
def test_sudoers_line_when_the_devices_own_name_leads_nowhere_then_sudo_does_not_ask_for_it(scratch: Path) -> None:
    """A device without DNS and without its name in /etc/hosts would wait for the time-out at each call to the runner."""
    rules = (UNITS / "doorward-runner.sudoers").read_text()
    rules = rules.replace("doorward-agent ", "nobody ").replace("/usr/bin/doorward-runner", "/bin/true")
    write_whole(scratch / "rules", rules, 0o440)
    write_whole(scratch / "hosts", "127.0.0.1 localhost\n", 0o644)
    write_whole(scratch / "resolv.conf", "nameserver 127.0.0.1\n", 0o644)  # nobody there, so nobody waits for it here
    boot = f"""
        hostname nowhere
        mount -t tmpfs -o mode=755 none /etc/sudoers.d
        install -m 440 {scratch}/rules /etc/sudoers.d/doorward-runner
        mount --bind {scratch}/hosts /etc/hosts
        mount --bind {scratch}/resolv.conf /etc/resolv.conf
        exec setpriv --reuid=nobody --regid=nogroup --clear-groups sudo -n /bin/true
    """
    ran = run([require("unshare"), "--mount", "--uts", "--net", "/bin/sh", "-ec", boot])
    assert (ran.returncode, ran.stderr.decode()) == (0, "")
