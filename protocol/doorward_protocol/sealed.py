"""Secrets in settings: sealed to one device and one place in its document, and masked in what a device says (protocol.md, "Secrets").

A secret is a string that the device maker's schema calls ``writeOnly``, reached by ``properties`` alone. It travels as
``{"$sealed": "…"}``: HPKE (RFC 9180; DHKEM(X25519), HKDF-SHA256, ChaCha20-Poly1305), bound to device and place, so it opens nowhere else. A
device says ``{"$secret": "set"}`` or ``"not set"`` and nothing more. The library is loaded where something is sealed or opened.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

SEALED: Final = "$sealed"
SECRET: Final = "$secret"  # noqa: S105  a name, and no secret
SET: Final[Mapping[str, str]] = {SECRET: "set"}
NOT_SET: Final[Mapping[str, str]] = {SECRET: "not set"}
_STEP: Final = 64
"""Texts are filled up to a multiple of so many bytes: a sealed value tells its length by that step alone."""

Path = tuple[str, ...]


class NotOpened(Exception):
    """Sealed for another key, device or place, or changed since."""


def is_sealed(value: Any) -> bool:
    """Tell whether a value is a sealed one."""
    return isinstance(value, dict) and value.keys() == {SEALED}


def is_masked(value: Any) -> bool:
    """Tell whether a value stands for a secret that stays as it is on the device."""
    return isinstance(value, dict) and value.keys() == {SECRET}


def secret_paths(schema: Any, above: Path = ()) -> Iterator[Path]:
    """Give the places of secrets in a document of ``schema``, which is not deeper than Python can follow."""
    rules = schema.get("properties") if isinstance(schema, dict) else None
    for name, rule in rules.items() if isinstance(rules, dict) else ():
        if isinstance(rule, dict) and rule.get("writeOnly") is True:
            yield (*above, name)
        else:
            yield from secret_paths(rule, (*above, name))


def with_each(values: Mapping[str, Any], paths: Iterable[Path], act: Callable[[Path, Any], Any]) -> dict[str, Any]:
    """Give a copy in which ``act`` has said what stands at each of ``paths`` that is there; what it makes None is gone."""
    made: dict[str, Any] = json.loads(json.dumps(values))
    for path in paths:
        here: Any = made
        for step in path[:-1]:
            here = here.get(step) if isinstance(here, dict) else None
        if isinstance(here, dict) and path[-1] in here:
            value = act(path, here.pop(path[-1]))
            if value is not None:
                here[path[-1]] = value
    return made


def masked(values: Mapping[str, Any], schema: Any) -> dict[str, Any]:
    """Hide each secret: whatever stands there, only whether it is set is left."""
    return with_each(
        values, secret_paths(schema), lambda _, value: NOT_SET if value in (None, False, "", NOT_SET) else SET
    )


def seal(public_key: bytes, device: str, path: Path, value: Any) -> dict[str, str]:
    """Seal ``value`` to the device's X25519 key for this place alone."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    text = json.dumps(value).encode()
    filled = text + b" " * (-len(text) % _STEP)
    sealed = _suite().encrypt(filled, X25519PublicKey.from_public_bytes(public_key), _bound(device, path))
    return {SEALED: base64.b64encode(sealed).decode()}


def opened(
    values: Mapping[str, Any], private_key: bytes | None, device: str, *, is_lenient: bool = False
) -> dict[str, Any]:
    """Give a document with its secrets opened, without those that stay as they are.

    Raises:
        NotOpened: one is for another key, device or place; where ``is_lenient`` such a one is left out instead.
    """

    def act(path: Path, value: Mapping[str, Any]) -> Any:
        try:
            return None if is_masked(value) else _open(value, private_key, device, path)
        except NotOpened:
            if is_lenient:
                return None
            raise

    return with_each(values, marked(values), act)


def marked(values: Mapping[str, Any], above: Path = ()) -> Iterator[Path]:
    """Give the places at which something sealed or masked stands."""
    for name, value in values.items():
        if is_sealed(value) or is_masked(value):
            yield (*above, name)
        elif isinstance(value, dict):
            yield from marked(value, (*above, name))


def _open(value: Mapping[str, Any], private_key: bytes | None, device: str, path: Path) -> Any:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    try:
        key = X25519PrivateKey.from_private_bytes(private_key or b"")
        raw = base64.b64decode(value[SEALED], validate=True)
        return json.loads(_suite().decrypt(raw, key, _bound(device, path)))
    except (InvalidTag, ValueError, TypeError, binascii.Error):
        raise NotOpened from None


def _suite() -> Any:
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def _bound(device: str, path: Path) -> bytes:
    return json.dumps(["doorward-settings-secret-v1", device, *path], separators=(",", ":")).encode()
