"""Documents by path: what is where, and what differs between two. Pure.

A path is a JSON Pointer (RFC 6901): ``/network/dns``. A list is one thing, for people change it as one; so is a sealed value.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Difference(NamedTuple):
    """One place where two documents differ; ``None`` stands for nothing there."""

    path: str
    before: Any
    after: Any


def pointer(steps: Iterable[str | int]) -> str:
    """Write the way to a place: ``("network", "dns", 0)`` is ``/network/dns/0``; the document itself is ``""``."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def leaves(document: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Give what stands in a document by its path; objects are gone through, unless they are empty."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        path = above + pointer((name,))
        if isinstance(value, dict) and value and not is_opaque(value):
            found |= leaves(value, path)
        else:
            found[path] = value
    return found


def is_opaque(value: Mapping[str, Any]) -> bool:
    """Tell whether an object stands for one value that is not said: one key that begins with $ (protocol.md, "Secrets")."""
    return len(value) == 1 and next(iter(value)).startswith("$")


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Give where ``after`` differs from ``before``, by path in alphabetical order; true is not 1, and 1 is 1.0."""
    old, new = leaves(before), leaves(after)
    every = sorted(old.keys() | new.keys())
    return tuple(
        Difference(path, old.get(path), new.get(path))
        for path in every
        if (path in old) != (path in new) or not _is_same(old[path], new[path])
    )


def _is_same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
