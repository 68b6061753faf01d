"""What a machine gets that installs doorward."""

import re
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from doorward_runner.edges.hooks import VERBS

from tests.parts.processes import run

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    built = run(["/usr/bin/env", "-C", ROOT, sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder])
    assert built.returncode == 0, built.stderr.decode()
    (made,) = folder.glob("doorward-*.whl")
    return made


def test_wheel_when_built_then_it_holds_rooms_vectors_units_and_licence(wheel: Path) -> None:
    """Everything that an installation needs rides along: code, vectors, migrations, units, examples, licence."""
    names = ZipFile(wheel).namelist()
    wanted = ("doorward_protocol/vectors.json", "doorward_protocol/py.typed", "licenses/LICENSE")
    found = [
        path for top in ("systemd", "firmware-hooks", "examples") for path in (ROOT / top).rglob("*") if path.is_file()
    ]
    of_source = [path.relative_to(ROOT) for path in found if "__pycache__" not in path.parts]
    for end in (*wanted, *(f"share/doorward/{path}" for path in of_source)):
        assert any(name.endswith(end) for name in names), end
    for room in ("protocol", "agent", "relay", "console"):
        code = [path.relative_to(ROOT / room) for path in (ROOT / room).glob("*/**/*.py")]
        assert {str(path) for path in code} <= set(names)


def test_wheel_when_built_then_its_hooks_can_be_executed(wheel: Path) -> None:
    """pip keeps the mode that the archive says: a hook that is not executable is none."""
    hooks = [one for one in ZipFile(wheel).infolist() if "/firmware-hooks/" in one.filename]
    assert {one.filename.rpartition("/")[2] for one in hooks if one.external_attr >> 16 & 0o111} == {*VERBS}


def test_wheel_when_built_then_no_test_and_no_cache_is_in_it(wheel: Path) -> None:
    """Nothing rides along that is not for an installation."""
    names = ZipFile(wheel).namelist()
    assert [name for name in names if name.startswith(("tests/", "docs/", ".")) or "__pycache__" in name] == []


def test_wheel_when_read_then_device_gets_nothing_of_the_consoles(wheel: Path) -> None:
    """The agent's extra names no package of the console's or the relay's alone."""
    with ZipFile(wheel) as opened:
        metadata = next(name for name in opened.namelist() if name.endswith("METADATA"))
        lines = opened.read(metadata).decode().splitlines()
    agent = {re.split(r"[^\w-]", line.split(": ")[1])[0] for line in lines if "extra == 'agent'" in line}
    assert agent == {"cryptography", "paho-mqtt", "paramiko", "tomli", "transitions"}
