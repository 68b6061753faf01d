"""The units, the sudoers line and the script, as an installation gets them."""

import re
import shutil
from pathlib import Path

import pytest

from tests.parts.files import write_whole
from tests.parts.installed import require
from tests.parts.processes import run
from tests.runner.programs import UNITS

SERVICES = ("doorward-console@", "doorward-agent", "doorward-runner@", "doorward-runner-nonce", "doorward-runner-clear")
NAMES = (
    "doorward-agent.service", "doorward-runner.socket", "doorward-runner@.service", "doorward-runner-clear.service",
    "doorward-runner-nonce.service", "doorward-runner-nonce.timer", "doorward-console@.service",
)  # fmt: skip


@pytest.fixture
def tree(scratch: Path) -> Path:
    """A file tree with systemd's own units, ours, and programs where ours expect them."""
    root = scratch / "root"
    (root / "usr/bin").mkdir(parents=True)
    shutil.copytree("/usr/lib/systemd/system", root / "usr/lib/systemd/system", symlinks=True)
    (root / "lib").symlink_to("usr/lib")
    (root / "bin").symlink_to("usr/bin")
    for program in ("doorward-agent", "doorward-runner", "doorward-console", "sh"):
        write_whole(root / "usr/bin" / program, "", 0o755)
    for name in NAMES:
        write_whole(root / "usr/lib/systemd/system" / name, (UNITS / name).read_text())
    return root


def _verify(tree: Path) -> str:
    """Give everything that systemd says about our units; its exit status is 0 even for keys that it does not know."""
    names = [name.replace("@.", "@web.") for name in NAMES]
    ran = run([require("systemd-analyze"), f"--root={tree}", "--man=no", "verify", *names])
    return (ran.stdout + ran.stderr).decode()


def test_units_when_verified_then_systemd_has_nothing_to_say(tree: Path) -> None:
    """Any output is a failure."""
    assert _verify(tree) == ""


@pytest.mark.parametrize(
    ("name", "was", "becomes"),
    [
        ("doorward-agent.service", "ProtectSystem=", "ProtectSystems="),
        ("doorward-runner.socket", "Accept=yes", "Accept=maybe"),
        ("doorward-runner@.service", "/usr/bin/doorward-runner", "/usr/bin/absent"),
    ],
)
def test_units_when_one_is_wrong_then_verifying_says_so(tree: Path, name: str, was: str, becomes: str) -> None:
    """The test above can fail."""
    path = tree / "usr/lib/systemd/system" / name
    write_whole(path, path.read_text().replace(was, becomes))
    assert _verify(tree) != ""


@pytest.mark.parametrize("service", SERVICES)
def test_service_when_rated_then_it_is_hardened(tree: Path, service: str) -> None:
    """systemd's own measure: at most 2.5 of 10, where an unhardened service has 9.6."""
    ran = run([
        require("systemd-analyze"), f"--root={tree}", "security", "--offline=true", "--threshold=25", f"{service}.service",
    ])  # fmt: skip
    assert ran.returncode == 0, ran.stdout.decode()[-300:]


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
