"""Whether a document is as a device maker's JSON Schema says (draft 2020-12): every fault at once, each with its path. Pure.

The schema is a stranger's: it may name patterns that never end, or references that double at each step. Nothing here bounds
the time, so this runs in a process of its own (``edges/schema_check``), which does. Nothing is ever fetched, and no fault
repeats a value, for it may be a secret.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import SchemaError
from referencing import Registry

from doorward_console.maintenance.documents.faults import Fault, Unusable
from doorward_console.maintenance.documents.paths import is_opaque, pointer

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MOST_BYTES: Final = 32_768
"""As long as a hook may answer."""
MOST_DEEP: Final = 32
MOST_FAULTS: Final = 100


def faults_of(schema: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[Fault, ...]:
    """Give the faults of ``values`` by path, at most 100; raises Unusable.

    What stands for a secret (``is_opaque``) is there, and is not judged.
    """
    check(schema)
    validator = Draft202012Validator(schema, registry=Registry(), format_checker=Draft202012Validator.FORMAT_CHECKER)
    errors = (error for error in validator.iter_errors(values) if not _is_opaque_at(values, error))
    found = {fault for error in islice(errors, MOST_FAULTS) for fault in _faults_from(error)}
    return tuple(sorted(found))[:MOST_FAULTS]


def check(schema: Mapping[str, Any]) -> None:
    """Refuse a schema that is too large, of another draft, not valid itself, or that refers to anything outside; raises Unusable."""
    if len(json.dumps(schema)) > MOST_BYTES:
        raise Unusable(f"it is longer than {MOST_BYTES} bytes")
    if schema.get("$schema", DIALECT) != DIALECT:
        raise Unusable("it is not of draft 2020-12")
    for node in _nodes(schema, 0):
        for name in ("$ref", "$dynamicRef"):
            if not str(node.get(name, "#")).startswith("#"):
                raise Unusable(f"its {name} leads outside of it")
        if "$id" in node and node is not schema:
            raise Unusable("a part of it has an $id of its own")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise Unusable(f"it is no JSON Schema: {pointer(error.absolute_path) or 'its beginning'}") from error


def _nodes(node: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    if depth > MOST_DEEP:
        raise Unusable(f"it is nested deeper than {MOST_DEEP}")
    if isinstance(node, dict):
        yield node
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _nodes(one, depth + 1)


def _is_opaque_at(values: Any, error: ValidationError) -> bool:
    """Tell whether a fault is of, or within, what stands for a secret."""
    here = values
    for step in error.absolute_path:
        if isinstance(here, dict) and is_opaque(here):
            return True
        here = here[step]
    return isinstance(here, dict) and is_opaque(here)


def _faults_from(error: ValidationError) -> Iterator[Fault]:
    steps, here, rule = list(error.absolute_path), _of(error.instance), error.validator_value
    if error.validator == "required":
        yield from (Fault(pointer([*steps, name]), "is missing") for name in _of(rule) if name not in here)
    elif error.validator == "additionalProperties" and rule is False and "patternProperties" not in _of(error.schema):
        known = _of(error.schema).get("properties", {})
        strange = (name for name in here if name not in known)
        yield from (Fault(pointer([*steps, name]), "is nothing that this device knows") for name in strange)
    else:
        say = _SAYS.get(str(error.validator))
        yield Fault(pointer(steps), say(rule) if say else f"is not as the schema says ({error.validator})")


def _of(whatever: Any) -> Any:
    """Give what the library types as perhaps unset, and never is in an error that it raised."""
    return whatever


_TYPES: Final = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}


def _types(value: Any) -> str:
    names = value if isinstance(value, list) else [value]
    return "has to be " + " or ".join(_TYPES.get(str(name), str(name)) for name in names)


def _choices(value: Any) -> str:
    return "has to be one of " + ", ".join(json.dumps(one, ensure_ascii=False) for one in value)[:200]


_SAYS: Final[Mapping[str, Callable[[Any], str]]] = {
    "type": _types,
    "enum": _choices,
    "const": lambda value: f"has to be {json.dumps(value, ensure_ascii=False)[:200]}",
    "pattern": lambda value: f"has to fit the pattern {str(value)[:200]}",
    "format": lambda value: f"has to be of the form {str(value)[:40]}",
    "minLength": lambda value: f"has to have at least {value} characters",
    "maxLength": lambda value: f"may have at most {value} characters",
    "minimum": lambda value: f"has to be at least {value}",
    "maximum": lambda value: f"may be at most {value}",
    "exclusiveMinimum": lambda value: f"has to be more than {value}",
    "exclusiveMaximum": lambda value: f"has to be less than {value}",
    "multipleOf": lambda value: f"has to be a multiple of {value}",
    "minItems": lambda value: f"has to have at least {value} entries",
    "maxItems": lambda value: f"may have at most {value} entries",
    "uniqueItems": lambda _: "may not have an entry twice",
    "minProperties": lambda value: f"has to have at least {value} names in it",
    "maxProperties": lambda value: f"may have at most {value} names in it",
    "additionalProperties": lambda _: "holds a name that this device does not know",
    "anyOf": lambda _: "is none of what may stand here",
    "oneOf": lambda _: "is none of what may stand here, or more than one of it",
    "not": lambda _: "is what may not stand here",
    "dependentRequired": lambda value: "needs others beside it: " + ", ".join(sorted(value))[:200],
}
