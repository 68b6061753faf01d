"""Make ``vectors.json``, the signed examples that every implementation has to read alike.

Called by ``make docs``. Everything in it follows from fixed seeds (Ed25519 is deterministic), so making it again gives
the same bytes, and a change of them is a change of the protocol.
"""

import json
from pathlib import Path
from typing import Any, Final

from doorward_protocol.signature import keyid_of

from tests.protocol import cast
from tests.protocol.order_vectors import order_vectors
from tests.protocol.other_vectors import (
    ask_vectors,
    grant_vectors,
    line_vectors,
    receipt_vectors,
    record_vectors,
    time_vectors,
)

PATH: Final = Path(__file__).parents[2] / "protocol" / "doorward_protocol" / "vectors.json"

ABOUT: Final = (
    "Signed examples for docs/protocol.md. The seeds are public: never pin one of these keys. 'raw' is what travels; "
    "'raw_base64' where it is no text; 'pad_to' says to how many bytes spaces at the end lengthen it. Each order is "
    "judged by one who holds 'standing', as the agent or as the runner (with the runner's nonces). SSH certificates "
    "in it are placeholders."
)


def document() -> dict[str, Any]:
    """Give the whole file as a JSON object."""
    held = cast.standing()
    return {
        "about": ABOUT,
        "keys": {name: _key(name) for name in cast.KEYS},
        "standing": {
            "device": held.device,
            "project": held.project,
            "relay": cast.RELAY,
            "grant_keys": [cast.GRANT_KEY.public],
            "nonces": list(cast.NONCES),
            "runner_nonces": list(cast.RUNNER_NONCES),
            "held": {
                part: {"epoch": one.revision.epoch, "revision": one.revision.number, "digest": one.digest}
                for part, one in held.held.items()
            },
            "ended": sorted(held.ended),
            "policy": {
                "longest_s": held.policy.longest_s,
                "login_user": held.policy.login_user,
                "targets": list(held.policy.targets),
            },
        },
        "orders": order_vectors(),
        "records": record_vectors(),
        "receipts": receipt_vectors(),
        "grants": grant_vectors(),
        "asks": ask_vectors(),
        "times": time_vectors(),
        **line_vectors(),
    }


def _key(name: str) -> dict[str, str]:
    key = cast.KEYS[name]
    return {"seed_hex": key.raw().hex(), "public": key.public, "keyid": keyid_of(key.public)}


def text() -> str:
    """Give the file's content."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
