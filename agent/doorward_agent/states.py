"""States, triggers and answers of the agent's two machines: the door, and the link to the broker.

A cell says what happens when a trigger (row) meets a state (column): ``OPENING begin`` moves and runs ``begin``,
``= renew`` stays and runs ``renew``, ``~late`` ignores it for the reason of that name in ``IGNORED``. ``A ?p / B`` is
A where the predicate ``p`` holds, else B. ``machine`` reads this page and builds nothing else.
"""

from enum import Enum
from typing import Final


class DoorState(Enum):
    SHUT = "SHUT"
    OPENING = "OPENING"
    OPEN = "OPEN"
    RETRYING = "RETRYING"
    CLOSING = "CLOSING"


class LinkState(Enum):
    OFFLINE = "OFFLINE"
    CONNECTING = "CONNECTING"
    ONLINE = "ONLINE"
    WAITING = "WAITING"


IGNORED: Final = {
    "none": "there is no session that it could be about",
    "late": "it answers an attempt that was given up",
    "known": "it says what is known already",
    "closing": "the door is being shut, and shutting wins",
    "ended": "a session that is being shut is written down as ended and never opens again",
    "shut": "the door is shut already",
    "early": "the order that is on its way says more",
}

# fmt: off
DOOR_TABLE: Final = """
trigger          | SHUT           | OPENING                | OPEN                 | RETRYING             | CLOSING
ordered          | OPENING begin  | = renew                | = renew              | = renew              | ~ended
ordered_other    | ~none          | CLOSING give_way       | CLOSING give_way     | CLOSING give_way     | = keep_next
ordered_shut     | ~shut          | CLOSING turn_off       | CLOSING turn_off     | CLOSING turn_off     | ~closing
end_reached      | ~shut          | CLOSING expire         | CLOSING expire       | CLOSING expire       | ~closing
door_found       | RETRYING adopt | ~early                 | ~known               | ~early               | ~closing
door_gone        | ~shut          | ~early                 | RETRYING lose_door   | = forget_door        | ~closing
door_opened      | = close_stray  | = use_door             | ~known               | = note_door          | ~closing
door_failed      | ~none          | RETRYING fail_door     | = note_failure       | = fail_door          | ~closing
door_refused     | ~none          | CLOSING refuse         | = note_failure       | CLOSING refuse       | ~closing
door_closed      | ~shut          | ~late                  | ~late                | ~late                | SHUT finish ?is_last / = half_close
door_not_closed  | ~shut          | ~late                  | ~late                | ~late                | = close_later
tunnel_opened    | ~late          | OPEN announce          | ~known               | ~late                | ~closing
tunnel_failed    | ~late          | RETRYING fail_tunnel   | RETRYING lose_tunnel | ~late                | ~closing
tunnel_ended     | ~late          | ~late                  | ~late                | ~late                | SHUT finish ?is_last / = half_close
forward_told     | ~late          | ~late                  | = note_forward       | ~late                | ~closing
retry_due        | ~shut          | RETRYING wait_longer   | ~late                | OPENING try_again    | = close_again
"""

LINK_TABLE: Final = """
trigger          | OFFLINE         | CONNECTING    | ONLINE         | WAITING
started          | CONNECTING dial | ~known        | ~known         | ~known
connected        | ~late           | ONLINE greet  | ~known         | ~late
lost             | ~late           | WAITING wait  | WAITING wait   | ~late
retry_due        | ~late           | ~late         | ~late          | CONNECTING dial
stopped          | ~known          | OFFLINE leave | OFFLINE leave  | OFFLINE leave
"""
# fmt: on
