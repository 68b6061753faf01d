"""One request from standard input, one answer to standard output; and who is at the other end of it, where that is a socket."""

import os
import pwd
import select
import socket
import stat
import struct
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from doorward_protocol.fields import Malformed
from doorward_protocol.reasons import reason_of

from doorward_runner import requests, runtime
from doorward_runner.config import RunnerConfig

MOST_BYTES: Final = 2 * 65_536
"""An envelope of the largest size and room for the rest of the request."""
READ_WAIT_S: Final = 10
"""The agent writes the whole line at once; whoever takes longer holds a process of root's."""


def run(config: RunnerConfig) -> int:
    """Answer one request; gives the exit status."""
    if not _may_ask(config.agent_user):
        return os.EX_NOPERM
    line = read_line(0, MOST_BYTES, READ_WAIT_S)
    sys.stdout.write(requests.line_from_answer(_answer(config, line)))
    sys.stdout.flush()
    return os.EX_OK


def _answer(config: RunnerConfig, line: bytes | None) -> Mapping[str, Any]:
    if line is None:
        return requests.refused("order.too-large", reason_of("order.too-large").meaning)
    try:
        request = requests.request_from_line(line)
    except Malformed as error:
        return requests.refused("runner.malformed", str(error))
    return runtime.answer(config, request)


def read_line(descriptor: int, most: int, within_s: float) -> bytes | None:
    """Read up to the first newline or the end, at most ``within_s`` seconds; None for more than ``most`` bytes."""
    give_up_at = time.monotonic() + within_s
    taken = b""
    while b"\n" not in taken and len(taken) <= most:
        left_s = give_up_at - time.monotonic()
        has_more = left_s > 0 and select.select([descriptor], [], [], left_s)[0]
        if not has_more or not (piece := os.read(descriptor, 65_536)):
            break
        taken += piece
    line = taken.partition(b"\n")[0]
    return line if len(line) <= most else None


def _may_ask(agent_user: str) -> bool:
    """Tell whether root, the agent or we ourselves are at the other end (unix(7)).

    Where it is no socket, sudoers has answered that; rootless, only our own user could have started us.
    """
    if not stat.S_ISSOCK(os.fstat(0).st_mode):
        return True
    with socket.socket(fileno=os.dup(0)) as peer:
        if peer.family != socket.AF_UNIX:
            return False
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    try:
        return uid in (0, os.geteuid(), pwd.getpwnam(agent_user).pw_uid)
    except KeyError:
        return uid in (0, os.geteuid())
