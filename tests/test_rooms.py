"""The rooms keep to themselves: who may import whom, where third-party code lives."""

import ast
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

ROOMS = {
    "doorward_protocol": ROOT / "protocol" / "doorward_protocol",
    "doorward_agent": ROOT / "agent" / "doorward_agent",
    "doorward_runner": ROOT / "agent" / "doorward_runner",
    "doorward_door": ROOT / "agent" / "doorward_door",
    "doorward_relay": ROOT / "relay" / "doorward_relay",
    "doorward_console": ROOT / "console" / "doorward_console",
}

OUTSIDE_EDGES = {
    ("doorward_agent", "machine.py", "transitions"),
    ("doorward_agent", "signature.py", "cryptography"),
    ("doorward_relay", "signature.py", "cryptography"),
    # Reading TOML text is a function of its argument; Python has it in the standard library from 3.11 on.
    ("doorward_agent", "config.py", "tomli"),
    ("doorward_relay", "config.py", "tomli"),
}
"""Third-party imports that may stand outside ``edges/``: module by module, each for its reason."""

STANDARD_LIBRARY = sys.stdlib_module_names | {"tomllib"}
"""Also what only later Pythons have: rooms import it behind a check of the version."""

WORLDLY = {
    "asyncio", "http", "logging", "multiprocessing", "os", "pathlib", "random", "secrets", "select", "selectors",
    "shutil", "signal", "socket", "ssl", "subprocess", "tempfile", "threading", "time", "urllib",
}  # fmt: skip
"""Modules of the standard library that touch the world, which the protocol never does."""


@dataclass(frozen=True, slots=True)
class Import:
    """One import of another top-level package, wherever in the file it stands."""

    path: Path
    line: int
    package: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} imports {self.package}"


def imports_of(room: str) -> Iterator[Import]:
    """Find every absolute import in a room's files, also those inside functions."""
    for path in sorted(ROOMS[room].rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
            for name in _imported(node):
                yield Import(path, getattr(node, "lineno", 0), name.partition(".")[0])


def _imported(node: ast.AST) -> list[str]:
    """Name the modules that a statement imports, or that a call to import_module names in plain text."""
    match node:
        case ast.Import(names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case ast.Call(
            func=ast.Name("import_module") | ast.Attribute(attr="import_module"), args=[ast.Constant(str(name))]
        ):
            return [name]
    return []


def third_party(room: str) -> Iterator[Import]:
    """Find a room's imports of what is neither Python's nor doorward's."""
    return (one for one in imports_of(room) if one.package not in STANDARD_LIBRARY and one.package not in ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_room_when_it_imports_doorward_then_only_itself_and_the_protocol(room: str) -> None:
    """No room imports a neighbour."""
    allowed = {room, "doorward_protocol"}
    assert [str(one) for one in imports_of(room) if one.package in ROOMS and one.package not in allowed] == []


def test_runner_when_it_imports_then_protocol_cryptography_and_standard_library_alone() -> None:
    """The root half can be audited: beyond Python itself (tomli is its tomllib on 3.10) it stands on one package."""
    allowed = {"cryptography", "tomli"}
    assert [str(one) for one in third_party("doorward_runner") if one.package not in allowed] == []


def test_embedded_door_when_it_imports_then_paramiko_and_standard_library_alone() -> None:
    """What strangers speak to knows no order, no key of the console's and no protocol but ssh."""
    assert [str(one) for one in third_party("doorward_door") if one.package != "paramiko"] == []
    assert [str(one) for one in imports_of("doorward_door") if one.package == "doorward_protocol"] == []


def test_protocol_when_it_imports_then_nothing_that_touches_the_world() -> None:
    """What the rooms say to one another is a function of its arguments, and only signatures need a library."""
    outsiders = [one for one in third_party("doorward_protocol") if one.package != "cryptography"]
    worldly = [one for one in imports_of("doorward_protocol") if one.package in WORLDLY]
    assert [str(one) for one in outsiders + worldly] == []


@pytest.mark.parametrize("room", ["doorward_agent", "doorward_relay"])
def test_room_when_it_needs_third_party_code_then_it_stands_in_edges(room: str) -> None:
    """Cores of agent and relay know no third-party package; their edges do."""
    home = ROOMS[room]
    found = [
        str(one)
        for one in third_party(room)
        if one.path.relative_to(home).parts[0] != "edges"
        and (room, str(one.path.relative_to(home)), one.package) not in OUTSIDE_EDGES
    ]
    assert found == []


def test_console_when_it_holds_a_row_then_foreign_keys_to_it_can_still_be_checked() -> None:
    """On PostgreSQL a plain FOR UPDATE makes everyone who writes a row that names the held one wait, and so deadlock."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in ROOMS["doorward_console"].rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes(), str(path)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "select_for_update"
        if not any(word.arg == "no_key" for word in node.keywords)
    ]
    assert found == []


FOREIGN = re.compile(
    "|".join(
        (
            r"\.\./" + "shared",
            r"(?<![\w.-])/" + r"work\b",
            "work" + "place",
            r"pythonhosted\.org",
            r"pypi\.org/" + "simple",
            r"/opt/" + "pypi",
        )
    ),
    re.IGNORECASE,
)
"""Names of one developer's machine and of package indexes: an installation chooses its own."""

NOT_OURS = {
    ".git",
    ".venv",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    "__pycache__",
    "build",
    "dist",
}


def project_files() -> Iterator[Path]:
    """Find the project's own files: what stands in the checkout and is no tool's cache."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in NOT_OURS]
        yield from (Path(folder) / name for name in names)


def test_project_when_it_is_read_then_it_names_no_machine_of_ours() -> None:
    """The project speaks of itself alone: no developer's path, no package index."""
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in project_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if FOREIGN.search(line)
    ]
    assert found == []
