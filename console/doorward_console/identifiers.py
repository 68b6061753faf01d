"""New ids for things that the console makes: the protocol's shape, the system's chance."""

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
