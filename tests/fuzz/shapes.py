"""Shapes to throw at readers: bytes by chance, JSON of every kind, and what was valid until a few places of it changed.

The quick form is some hundred examples; ``DOORWARD_FUZZ_MINUTES`` (``make soak`` sets it) makes it longer.
"""

import copy
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import doorward_protocol
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

VECTORS: Final[Mapping[str, Any]] = json.loads(
    (Path(doorward_protocol.__file__).parent / "vectors.json").read_text(encoding="utf-8")
)
_QUICK: Final = 40
_A_MINUTE: Final = 100
"""About as many as each of the fuzzed takes when all of them share a minute."""
EXAMPLES: Final = max(_QUICK, int(float(os.environ.get("DOORWARD_FUZZ_MINUTES", "0")) * _A_MINUTE))

NASTY: Final = (
    b"", b"null", b"[]", b"{", b"\xff\xfe", b'{"a": NaN}', b'{"a": 1e999}', b'{"a": "\\ud800"}', b'{"a": "\\u0000"}',
    b'{"type": "order", "type": "ask", "verb": "close", "verb": "order"}', b"[" * 100_000, b'{"a":' * 100_000,
    b'{"v": ' + b"9" * 5_000 + b"}", b'{"a": "' + b"x" * 70_000 + b'"}',
)  # fmt: skip
"""What readers of JSON have stumbled over before; every reader gets each of these."""

patient = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**62, max_value=2**70)
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(["", "0", "-1", "\0", "\ud800", "../..", "a" * 70_000, "2026-13-45", "*:22"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def documents_like(samples: Sequence[Mapping[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Give documents that were valid until up to four places of them were replaced, removed or added."""
    return st.builds(
        _changed,
        st.sampled_from(list(samples)),
        st.lists(st.tuples(st.integers(0, 99), values, st.integers(0, 3)), max_size=4),
    )


def _changed(sample: Mapping[str, Any], changes: Sequence[tuple[int, Any, int]]) -> dict[str, Any]:
    document = copy.deepcopy(dict(sample))
    for place, value, how in changes:
        places = list(_places(document))
        holder, key = places[place % len(places)] if places else (document, "x")
        if how == 0 and isinstance(holder, dict):
            holder.pop(key, None)
        elif how == 1 and isinstance(holder, dict):
            holder["more"] = value
        else:
            holder[key] = value
    return document


def _places(node: Any) -> Any:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in list(items):
        yield node, key
        yield from _places(inner)


OTHERWISE: Final[Sequence[Any]] = (
    None,
    True,
    -1,
    1.5,
    2**70,
    "",
    "²",
    "9" * 5_000,
    "x" * 70_000,
    [],
    [None],
    {},
    {"a": []},
)
"""What a place may hold instead: each kind of JSON there is, and what is beyond a limit."""


def each_otherwise(sample: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a valid document with each of its places in turn holding something else, or gone: chance finds few of them."""
    for place in range(len(list(_places(sample)))):
        yield _changed(sample, [(place, None, 0)])
        for value in OTHERWISE:
            yield _changed(sample, [(place, value, 2)])


def texts_like(samples: Sequence[str]) -> st.SearchStrategy[str]:
    """Give texts that were valid until a piece of them was cut out, doubled or replaced."""
    return st.builds(
        _spliced, st.sampled_from(list(samples)), st.integers(0, 400), st.integers(0, 40), st.text(max_size=10)
    )


def _spliced(sample: str, start: int, length: int, piece: str) -> str:
    start %= len(sample) + 1
    return sample[:start] + piece + sample[start + length :]


def messages_like(samples: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Give bytes: by chance, JSON, changed documents, spliced text of what was valid."""
    documents = [found for one in samples if (found := document_of(one))]
    changed = documents_like(documents).map(_dumped) if documents else st.just(b"{}")
    spliced = texts_like([one.decode() for one in samples]).map(lambda text: text.encode(errors="surrogatepass"))
    return st.binary(max_size=200) | values.map(_dumped) | changed | spliced


def messages_otherwise(samples: Sequence[bytes]) -> Iterator[bytes]:
    """Give each of the samples that are documents with each place in turn otherwise; one that was given already is left out."""
    given = set[bytes]()
    for raw in samples:
        for one in map(_dumped, each_otherwise(document_of(raw) or {})):
            if one not in given:
                given.add(one)
                yield one


def document_of(raw: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode(errors="surrogatepass")


def only_refuses(read: Callable[[], object], *refusals: type[Exception]) -> None:
    """Read; whatever else than these is raised fails the test."""
    try:
        read()
    except refusals:
        return
