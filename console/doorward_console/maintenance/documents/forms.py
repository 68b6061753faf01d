"""A form made from a device maker's schema, and the document that was typed into it. Pure.

What a form can hold: text, numbers, yes or no, choices, lists of text, and objects of these. All else is left to the JSON editor,
and named. A field's name is its JSON Pointer. What is typed is not judged here: what is no number stays text, and the schema says so.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from doorward_console.maintenance.documents.paths import pointer

MOST_FIELDS: Final = 200
MOST_DEEP: Final = 5
_NUMBERS: Final = {"integer": int, "number": float}
_KINDS: Final = {"string": "text", "integer": "number", "number": "number", "boolean": "choice"}


class Field(NamedTuple):
    """One field.

    Attributes:
        kind: ``text``, ``number``, ``choice``, ``texts`` (one a line), ``secret`` (never filled in; left empty it stays), ``object`` (a heading for those beneath), or ``other``: not for a form.
        value: as it stands in the field; of a choice as JSON; of a secret ``set`` or nothing.
        choices: each as JSON and in words.
        about: the maker's sentence.
    """

    path: str
    title: str
    kind: str
    value: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    is_required: bool = False
    about: str = ""
    example: str = ""
    depth: int = 0


def fields_of(schema: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[Field, ...]:
    """Give the fields in the schema's order, filled with ``values``; at most 200."""
    return tuple(field for _, field in zip(range(MOST_FIELDS), _fields(schema, values, (), 0), strict=False))


def _fields(schema: Mapping[str, Any], values: Any, above: tuple[str, ...], depth: int) -> Iterator[Field]:
    here = values if isinstance(values, dict) else {}
    needed = schema.get("required", [])
    for name, rule in _properties(schema):
        kind = _kind(rule) if depth < MOST_DEEP else "other"
        value = here.get(name)
        yield Field(
            path=pointer((*above, name)),
            title=str(rule.get("title", name))[:100],
            kind=kind,
            value=_typed(kind, value),
            choices=_choices(rule) if kind == "choice" else (),
            is_required=isinstance(needed, list) and name in needed,
            about=str(rule.get("description", ""))[:300],
            example=_example(rule),
            depth=depth,
        )
        if kind == "object":
            yield from _fields(rule, value, (*above, name), depth + 1)


def _properties(schema: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    found = schema.get("properties")
    pairs = found.items() if isinstance(found, dict) else ()
    return [(name, rule) for name, rule in pairs if isinstance(rule, dict)]


def _kind(rule: Mapping[str, Any]) -> str:
    if rule.get("writeOnly") is True:
        return "secret" if rule.get("type") == "string" else "other"
    if rule.keys() & {"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf"}:
        return "other"
    if isinstance(rule.get("enum"), list):
        return "choice"
    if rule.get("type") == "object" and _properties(rule):
        return "object"
    items = rule.get("items")
    if (
        rule.get("type") == "array"
        and isinstance(items, dict)
        and items.get("type") == "string"
        and "enum" not in items
    ):
        return "texts"
    return _KINDS.get(str(rule.get("type")), "other")


def _choices(rule: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    if isinstance(rule.get("enum"), list):
        return tuple((json.dumps(one), in_words(one)) for one in rule["enum"][:100])
    return (("true", "yes"), ("false", "no"))


def _example(rule: Mapping[str, Any]) -> str:
    found = rule.get("examples")
    return in_words(found[0])[:100] if isinstance(found, list) and found else ""


def _typed(kind: str, value: Any) -> str:
    if kind == "secret":
        return "set" if value not in (None, {"$secret": "not set"}) else ""
    if value is None or kind in {"object", "other"}:
        return ""
    if kind == "choice":
        return json.dumps(value)
    if kind == "texts":
        return "\n".join(in_words(one) for one in value) if isinstance(value, list) else ""
    return in_words(value)


def in_words(value: Any) -> str:
    """Write a value for people: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def document_from(schema: Mapping[str, Any], typed: Mapping[str, str], base: Mapping[str, Any]) -> dict[str, Any]:
    """Give ``base`` with everything that the form holds as it was typed; a field that was left empty is not there.

    What the form does not hold stays as it is in ``base``. An object in which nothing is left is there only if it has to be.
    """
    return _document(schema, typed, base, (), 0)


def _document(
    schema: Mapping[str, Any], typed: Mapping[str, str], base: Any, above: tuple[str, ...], depth: int
) -> dict[str, Any]:
    made = dict(base) if isinstance(base, dict) else {}
    needed = schema.get("required", [])
    for name, rule in _properties(schema):
        kind = _kind(rule) if depth < MOST_DEEP else "other"
        path = pointer((*above, name))
        if kind == "object":
            inner = _document(rule, typed, made.get(name), (*above, name), depth + 1)
            value: Any = inner if inner or (isinstance(needed, list) and name in needed) else None
        elif kind == "other" or path not in typed or (kind == "secret" and not typed[path]):
            continue
        else:
            value = _value(kind, rule, typed[path])
        made.pop(name, None)
        if value is not None:
            made[name] = value
    return made


def _value(kind: str, rule: Mapping[str, Any], text: str) -> Any:
    """Read one field; None where it was left empty."""
    if kind == "texts":
        return [line.strip() for line in text.splitlines() if line.strip()] or None
    if not text.strip():
        return None
    if kind == "choice":
        return next((json.loads(one) for one, _ in _choices(rule) if one == text), text)
    if kind == "number":
        try:
            return _NUMBERS[str(rule["type"])](text.strip())
        except ValueError:
            return text
    return text


def why_no_object(text: str) -> str:
    """Say where a typed text stops being one JSON object, for whoever typed it; names no word of it, for it may hold secrets."""
    try:
        typed = json.loads(text)
    except json.JSONDecodeError as fault:
        return f"line {fault.lineno}, column {fault.colno}: {fault.msg[:1].lower()}{fault.msg[1:]}"
    except RecursionError:
        return "it is nested too deep"
    return (
        "a name stands twice in it, or a number or a letter is none"
        if isinstance(typed, dict)
        else "it has to begin with {"
    )
