"""New ids for things that the console makes: the protocol's shape, the system's chance."""

import base64
import secrets

from doorward_protocol.ids import RANDOM_BYTES, id_from_bytes


def new_project_id() -> str:
    return id_from_bytes("p", secrets.token_bytes(RANDOM_BYTES))


def new_device_id() -> str:
    return id_from_bytes("d", secrets.token_bytes(RANDOM_BYTES))


def new_relay_id() -> str:
    return id_from_bytes("r", secrets.token_bytes(RANDOM_BYTES))


def new_session_id() -> str:
    return id_from_bytes("s", secrets.token_bytes(RANDOM_BYTES))


def new_order_id() -> str:
    return id_from_bytes("o", secrets.token_bytes(RANDOM_BYTES))


def new_command_id() -> str:
    return id_from_bytes("c", secrets.token_bytes(RANDOM_BYTES))


def new_batch_id() -> str:
    """Name one command on several devices; of the same shape, but never on the wire: devices know their own command alone."""
    return "b-" + base64.b32encode(secrets.token_bytes(RANDOM_BYTES)).decode().lower()
