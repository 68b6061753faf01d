"""Secrets in settings, the runner's part: its key, what it says of it, and secrets opened for a hook alone.

The key never leaves ``state_dir``; its public half is signed with the door's host key, which joining has certified, so that
neither the agent nor anybody on the way can put another in its place.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from doorward_protocol import sealed

from doorward_runner.edges import files
from doorward_runner.edges.memory import Memory
from doorward_runner.errors import Refused


def said(memory: Memory, result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give what settings-read answered, with its secrets masked, and the signed key that new ones are sealed to."""
    values = result.get("values")
    hidden = sealed.masked(values, result.get("schema")) if isinstance(values, dict) else {}
    return {**result, "values": hidden, "key": _public(memory)}


def _public(memory: Memory) -> Any:
    """Sign the public half, after making the pair where there is none; None before joining and with an older library."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key
    from doorward_protocol.signature import SigningKey

    pins = memory.pins()
    host = load_ssh_private_key(memory.host_key.read_bytes(), None) if memory.host_key.exists() else None
    if pins is None or not isinstance(host, Ed25519PrivateKey):
        return None
    private = _private(memory)
    if private is None:
        private = X25519PrivateKey.generate().private_bytes_raw()
        files.write(memory.settings_key, base64.b64encode(private).decode() + "\n", mode=0o600, durable=True)
    public = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    payload = {"type": "key", "v": 1, "device": pins.device, "key": base64.b64encode(public).decode()}
    return json.loads(SigningKey.from_raw(host.private_bytes_raw()).seal("key", json.dumps(payload).encode()))


def _private(memory: Memory) -> bytes | None:
    text = files.read(memory.settings_key)
    return None if text is None else base64.b64decode(text)


def opened(memory: Memory, values: Mapping[str, Any], *, is_lenient: bool = False) -> Mapping[str, Any]:
    """Open the secrets in ``values`` for a hook; raises Refused ``settings.not-opened``, or leaves such out where ``is_lenient``."""
    pins = memory.pins()
    try:
        return sealed.opened(values, _private(memory), pins.device if pins else "", is_lenient=is_lenient)
    except sealed.NotOpened:
        raise Refused("settings.not-opened") from None
