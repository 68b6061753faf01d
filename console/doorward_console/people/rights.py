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
    MESSAGE = "message"  # show a message to the people at a device
    REHEARSE = "rehearse"  # have a device try the way to its relay, or to a target, without opening anything
    REFRESH = "refresh"  # have a device say what it is and how it is
    REBOOT = "reboot"
    SUSPEND = "suspend"
    SHUT_DOWN = "shut-down"
    RESET = "reset"  # what the maker has listed is as it left the factory


_VIEWER: Final = frozenset({Right.VIEW})
_ENGINEER: Final = _VIEWER | {Right.LOG_IN, Right.MESSAGE, Right.REFRESH, Right.REHEARSE}
_ADMIN: Final = _ENGINEER | {
    Right.TOGGLE,
    Right.MANAGE_DEVICES,
    Right.MANAGE_RELAYS,
    Right.REBOOT,
    Right.SUSPEND,
    Right.SHUT_DOWN,
}
_OWNER: Final = frozenset(Right)

RIGHTS: Final = {"viewer": _VIEWER, "engineer": _ENGINEER, "admin": _ADMIN, "owner": _OWNER}

COMMANDS: Final = {
    "rehearse": Right.REHEARSE,
    "test-forward": Right.REHEARSE,
    "message": Right.MESSAGE,
    "system-info": Right.REFRESH,
    "health": Right.REFRESH,
    "settings-read": Right.REFRESH,
    "reboot": Right.REBOOT,
    "suspend": Right.SUSPEND,
    "shutdown": Right.SHUT_DOWN,
    "factory-reset": Right.RESET,
}
"""The right that each command needs, in the order in which people are shown them: what does least comes first."""


def may(role: str | None, right: Right) -> bool:
    """Tell whether ``role`` (None: no member) includes ``right``."""
    return right in RIGHTS.get(role or "", frozenset())
