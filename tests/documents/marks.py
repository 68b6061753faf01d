"""Which test promises what: ``feature`` and ``threat`` marks, read from the tests' sources without running them."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[1]

Marked = Mapping[str, tuple[str, ...]]
"""From a row's id or slug to the tests that carry it, as ``folder/file.py::test``, in order."""


@cache
def marked_tests(mark: str) -> Marked:
    """Find all tests that carry ``mark``, also through a parameter, a table of parameters or a whole file."""
    found: dict[str, list[str]] = defaultdict(list)
    for path, tree in _trees().items():
        for value, test in _in_file(tree, mark):
            found[value].append(f"{path.relative_to(TESTS)}::{test}")
    return {value: tuple(dict.fromkeys(tests)) for value, tests in sorted(found.items())}


@cache
def _trees() -> Mapping[Path, ast.Module]:
    """Parse all tests once: that takes a second."""
    return {path: ast.parse(path.read_bytes(), str(path)) for path in sorted(TESTS.rglob("test_*.py"))}


def _in_file(tree: ast.Module, mark: str) -> Iterator[tuple[str, str]]:
    tables = {
        target.id: list(_values(node, mark))
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            for decorator in node.decorator_list:
                yield from ((value, node.name) for value in _values(decorator, mark))
                names = [one.id for one in ast.walk(decorator) if isinstance(one, ast.Name)]
                yield from ((value, node.name) for name in names for value in tables.get(name, []))
            yield from ((value, node.name) for value in tables.get("pytestmark", []))


def _values(node: ast.AST, mark: str) -> Iterator[str]:
    """Give the arguments of every ``pytest.mark.<mark>(…)`` inside ``node``."""
    for one in ast.walk(node):
        match one:
            case ast.Call(func=ast.Attribute(attr=attr, value=ast.Attribute(attr="mark")), args=args) if attr == mark:
                yield from (str(arg.value) for arg in args if isinstance(arg, ast.Constant))
