"""Strict reading of JSON objects that strangers sent: each field by name and type, with one error for all faults.

``Malformed`` names the field, never its value: the value may be a secret. A ``bool`` is no integer here, and integers
stay within 63 bits so that every language can hold them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

MAX_INTEGER: Final = 2**63 - 1


class Malformed(Exception):
    """The peer sent something that is not the message it should be (protocol.md, conventions)."""

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"field {field!r} is not {expected}")
        self.field = field
        self.expected = expected


def object_from_json(raw: bytes | str) -> Mapping[str, Any]:
    """Decode one JSON object.

    Raises:
        Malformed: not UTF-8, not JSON, nested too deep, not an object, a key stands twice, a number is none, or text
            holds a zero byte or half a character (a database or the next reader would stumble over it).
    """
    try:
        text = raw if isinstance(raw, str) else raw.decode()
        decoded = json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_no_constant, parse_float=_finite)
        _check_texts(decoded)
    except (ValueError, RecursionError):
        raise Malformed("(message)", "a JSON object") from None
    if not isinstance(decoded, dict):
        raise Malformed("(message)", "a JSON object")
    return decoded


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse what two readers could understand in two ways."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise ValueError("a number without bound")
    return number


def _check_texts(decoded: Any) -> None:
    """Raise ValueError for any text in ``decoded`` that is no storable Unicode."""
    waiting = [decoded]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            one.encode()  # raises UnicodeEncodeError, a ValueError, for a lone surrogate
            if "\0" in one:
                raise ValueError("a zero byte")
        elif isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            waiting += one


def text(source: Mapping[str, Any], name: str, *, longest: int = 4096) -> str:
    """Read a string of at most ``longest`` characters."""
    value = source.get(name)
    if not isinstance(value, str) or len(value) > longest:
        raise Malformed(name, f"a string of at most {longest} characters")
    return value


def text_or_none(source: Mapping[str, Any], name: str, *, longest: int = 4096) -> str | None:
    """Read a string or an explicit null."""
    return None if _is_null(source, name) else text(source, name, longest=longest)


def integer(source: Mapping[str, Any], name: str, *, least: int = 0, most: int = MAX_INTEGER) -> int:
    """Read an integer within bounds, both included."""
    value = source.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Malformed(name, f"an integer from {least} to {most}")
    return value


def integer_or_none(source: Mapping[str, Any], name: str) -> int | None:
    """Read a non-negative integer or an explicit null."""
    return None if _is_null(source, name) else integer(source, name)


def boolean(source: Mapping[str, Any], name: str) -> bool:
    """Read true or false."""
    value = source.get(name)
    if not isinstance(value, bool):
        raise Malformed(name, "true or false")
    return value


def mapping(source: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Read a JSON object."""
    value = source.get(name)
    if not isinstance(value, dict):
        raise Malformed(name, "an object")
    return value


def mappings(source: Mapping[str, Any], name: str, *, most: int = 64) -> tuple[Mapping[str, Any], ...]:
    """Read a list of JSON objects."""
    values = _list(source, name, most)
    if not all(isinstance(value, dict) for value in values):
        raise Malformed(name, "a list of objects")
    return tuple(values)


def texts(source: Mapping[str, Any], name: str, *, most: int = 64, longest: int = 8192) -> tuple[str, ...]:
    """Read a list of strings."""
    values = _list(source, name, most)
    if not all(isinstance(value, str) and len(value) <= longest for value in values):
        raise Malformed(name, "a list of strings")
    return tuple(values)


def _list(source: Mapping[str, Any], name: str, most: int) -> Sequence[Any]:
    value = source.get(name)
    if not isinstance(value, list) or len(value) > most:
        raise Malformed(name, f"a list of at most {most}")
    return value


def _is_null(source: Mapping[str, Any], name: str) -> bool:
    if name not in source:
        raise Malformed(name, "there; null is written out")
    return source[name] is None
