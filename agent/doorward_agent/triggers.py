"""Which row of the door's table an event belongs to."""

from typing import Final

from doorward_agent import effects as do
from doorward_agent import policy
from doorward_agent.events import (
    DoorClosed,
    DoorEvent,
    DoorFailed,
    DoorFound,
    DoorGone,
    DoorNotClosed,
    DoorOpened,
    ForwardTold,
    Ordered,
    OrderedShut,
    TimerDue,
    TunnelEnded,
    TunnelFailed,
    TunnelOpened,
)
from doorward_agent.policy import Session

_PLAIN_TRIGGERS: Final[dict[type, str]] = {
    DoorFound: "door_found",
    DoorGone: "door_gone",
    DoorOpened: "door_opened",
    DoorClosed: "door_closed",
    DoorNotClosed: "door_not_closed",
    TunnelOpened: "tunnel_opened",
    TunnelFailed: "tunnel_failed",
    TunnelEnded: "tunnel_ended",
    ForwardTold: "forward_told",
}


def door_trigger(event: DoorEvent, session: Session | None) -> str | None:
    """Name the row of the table that an event belongs to, or None for one that is about something given up."""
    match event:
        case Ordered():
            return "ordered" if policy.is_same_session(event, session) else "ordered_other"
        case OrderedShut():
            return "ordered_shut" if policy.shuts(event, session) else None
        case TimerDue(name):
            return {do.DOOR_RETRY: "retry_due", do.DOOR_END: "end_reached"}.get(name)
        case DoorFailed():
            trigger = "door_refused" if policy.is_final(event) else "door_failed"
            return trigger if session is not None and event.session == session.id else None
        case TunnelOpened() | TunnelFailed() | TunnelEnded() | ForwardTold():
            return None if policy.is_stale(event, session) else _PLAIN_TRIGGERS[type(event)]
        case _:
            is_another = session is not None and event.session != session.id
            return None if is_another else _PLAIN_TRIGGERS[type(event)]
