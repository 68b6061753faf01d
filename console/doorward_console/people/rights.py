"""Who may do what: one table of roles and rights, and nothing else decides.

Pages, API and signer ask here; the signer asks again for what the web process claims.
"""

from enum import Enum
from typing import Final


class Right(Enum):
    """One thing that a member may be allowed to do in a project."""

    VIEW = "view"
    LOG_IN = "log-in"  # see the ssh lines of an open door
    TOGGLE = "toggle"  # turn maintenance on and off, extend (E5: owner and admins)
    MANAGE_DEVICES = "manage-devices"
    MANAGE_RELAYS = "manage-relays"
    MANAGE_MEMBERS = "manage-members"
    MANAGE_PROJECT = "manage-project"
    MAKE_KEYS = "make-keys"  # E1: by the project's owner alone


_VIEWER: Final = frozenset({Right.VIEW})
_ENGINEER: Final = _VIEWER | {Right.LOG_IN}
_ADMIN: Final = _ENGINEER | {
    Right.TOGGLE,
    Right.MANAGE_DEVICES,
    Right.MANAGE_RELAYS,
}
_OWNER: Final = frozenset(Right)

RIGHTS: Final = {"viewer": _VIEWER, "engineer": _ENGINEER, "admin": _ADMIN, "owner": _OWNER}


def may(role: str | None, right: Right) -> bool:
    """Tell whether ``role`` (None: no member) includes ``right``."""
    return right in RIGHTS.get(role or "", frozenset())
