"""What the README says about installing is what package, units and configuration expect."""

import re
from pathlib import Path

from doorward_agent.config import Config

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PLACES = {"/usr/bin", "/usr/share/doorward/systemd"}
INSTALL = TEXT.partition("## Install it")[2].partition("\n## ")[0]


def test_install_when_it_names_units_then_they_are_there() -> None:
    """Every unit, script and sudoers line that the reader is sent to comes with the package."""
    named = set(re.findall(r"doorward-[a-z-]+\.(?:service|socket|timer|sudoers|sh)\b", INSTALL))
    assert named
    assert [name for name in named if not (ROOT / "systemd" / name).exists()] == []


def test_install_when_units_need_programs_and_users_then_the_reader_is_told() -> None:
    """Where units look for programs and the script, and as whom they run, stands in the README."""
    units = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "systemd").iterdir())
    assert set(re.findall(r"(/usr/[a-z/]+)/doorward-(?:agent|runner|relay)\b", units)) == PLACES
    told = ("/usr/bin/doorward-*", "/usr/share/doorward", "share/doorward/systemd", "/etc/systemd/system")
    assert [one for one in told if one not in INSTALL] == []
    assert f"{Config().user}\n" in INSTALL
    assert f"usermod -p '*' {Config().login_user}\n" in INSTALL


def test_opening_when_it_says_who_listens_then_it_names_all_three() -> None:
    """Console and broker listen for devices as the relay does; only the device does not."""
    opening = " ".join(TEXT.partition("```")[0].split())
    assert "relay, console and broker listen to the world, the device opens no port to it" in opening
