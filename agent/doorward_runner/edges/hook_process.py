"""One hook as a process: started, heard, held to its time, and ended with all that came of it.

A child of the runner's watches over it, to whom every orphan of the hook falls. The watcher outlives a runner that is
killed, and keeps what the runner held locked (flock(2)) until nothing of the hook is left; a runner outlives its watcher
likewise. What a hook prints is cut while it is read. Knows no verb and no code: ``hooks`` makes sense of it.
"""

import errno
import marshal
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from doorward_runner.edges import process_tree

MOST_STDOUT_BYTES: Final = 32_768
"""With the longest standard error and a record's own fields it stays below an envelope's 64 KiB."""
MOST_STDERR_BYTES: Final = 4_096
GRACE_S: Final = 3
"""Between SIGTERM and SIGKILL: enough to put back one file, short against any limit."""
END_WAIT_S: Final = 5
"""As for doors: a kill takes milliseconds, an uninterruptible read of a bad disk may take seconds."""
LONGEST_AFTER_S: Final = GRACE_S + END_WAIT_S + 1
"""How long after its limit a hook has surely been answered for."""
_LARGEST_PIPE: Final = 16
"""So many reads of 64 KiB empty the largest pipe that a process may make (pipe(7))."""
_WHY: Final = {
    errno.EACCES: "its copy may not be executed where it is, which is mounted noexec",
    errno.ENOENT: "the interpreter that its first line names is not there",
    errno.ENOEXEC: "its first line names no interpreter (#!/bin/sh), and it is no program of this machine's",
}


class Ended(NamedTuple):
    """How a hook ended.

    Attributes:
        status: its exit status, or the signal that ended it as a negative number; None where it has neither.
        stdout: its beginning, one byte more than may be where there was more.
        stderr: its end.
        remark: what there is to say besides, as a sentence; "" for nothing.
        has_begun: not so only where nothing of it was run.
    """

    status: int | None
    stdout: bytes
    stderr: bytes
    remark: str
    lasted_ms: int
    has_begun: bool = True


def run(command: Sequence[str], environment: Mapping[str, str], stdin: bytes, limit_s: float) -> Ended:
    """Run ``command`` until it ends or is ended, and give how; nothing that descends from it is left. Raises OSError.

    For a process of one thread and without other children: where the watcher is killed, whatever descends from us goes.
    """
    process_tree.adopt_orphans()
    hears, tells = os.pipe()
    watcher = os.fork()
    if watcher == 0:
        try:
            os.close(hears)
            _let_go_of_the_caller()
            os.write(tells, marshal.dumps(tuple(_watch(command, environment, stdin, limit_s))))
        finally:
            os._exit(0)
    os.close(tells)
    with os.fdopen(hears, "rb") as answer:  # each wait of the watcher's has its limit, and so has this one
        told = answer.read()
    os.waitpid(watcher, 0)
    if told:
        return Ended(*marshal.loads(told))  # noqa: S302 - written a few lines above, by ourselves
    process_tree.kill_until_none(lambda: process_tree.descendants(os.getpid()), END_WAIT_S)
    return Ended(None, b"", b"", "Whoever watched over it was killed, and so it was ended.", 0)


def _let_go_of_the_caller() -> None:
    """Hold neither its socket nor its pipes, which others read to their end."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)


def _watch(command: Sequence[str], environment: Mapping[str, str], stdin: bytes, limit_s: float) -> Ended:
    process_tree.adopt_orphans()
    bell, started_s = _bell(), time.monotonic()
    try:
        hook, stdout, stderr = _start(command, environment, stdin)
    except OSError as error:
        why = _WHY.get(error.errno or 0, error.strerror)
        return Ended(None, b"", b"", f"It cannot be started: {why}.", 0, has_begun=False)
    ears = {bell: slice(0), stdout: slice(MOST_STDOUT_BYTES + 1), stderr: slice(-MOST_STDERR_BYTES, None)}
    kept = dict.fromkeys(ears, b"")
    status = _listen(hook, ears, kept, started_s + limit_s)
    if status is None:
        _signal_group(hook, signal.SIGTERM)
        status = _listen(hook, ears, kept, time.monotonic() + GRACE_S)
    remark = "" if _end_all(hook) else "Not all of its processes could be ended."
    for _ in range(_LARGEST_PIPE):
        _hear(ears, kept, 0)
    return Ended(status, kept[stdout], kept[stderr], remark, int((time.monotonic() - started_s) * 1000))


def _start(command: Sequence[str], environment: Mapping[str, str], stdin: bytes) -> tuple[int, int, int]:
    """Start the hook; gives its number and what its output can be read from.

    Its standard input is a file in memory, so that nobody waits for a hook that reads late or never.
    """
    (stdout, out), (stderr, err) = os.pipe(), os.pipe()
    with os.fdopen(os.memfd_create("stdin"), "w+b") as document:
        document.write(stdin)
        document.seek(0)
        hook = subprocess.Popen(
            command,
            stdin=document,
            stdout=out,
            stderr=err,
            env=environment,
            cwd="/",
            umask=0o022,
            start_new_session=True,
        )
    hook.returncode = 0  # reaped with all others
    os.close(out)
    os.close(err)
    return hook.pid, stdout, stderr


def _bell() -> int:
    """Give a descriptor that can be read as soon as a child has ended."""
    hears, rings = os.pipe()
    os.set_blocking(rings, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(rings, warn_on_full_buffer=False)
    return hears


def _listen(hook: int, ears: dict[int, slice], kept: dict[int, bytes], until_s: float) -> int | None:
    """Hear the hook until it ends, and give its status; None where it has not ended by ``until_s``.

    It is not reaped: until all is over its number, which is its group's too, stays its own.
    """
    while (ended := os.waitid(os.P_PID, hook, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            return None
        _hear(ears, kept, left_s)
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _hear(ears: dict[int, slice], kept: dict[int, bytes], within_s: float) -> None:
    """Read once from whatever can be read within that time; of each ear only its slice is ``kept``."""
    for ear in select.select(list(ears), [], [], within_s)[0]:
        piece = os.read(ear, 65_536)
        kept[ear] = (kept[ear] + piece)[ears[ear]]
        if not piece:
            del ears[ear]


def _end_all(hook: int) -> bool:
    """Kill the hook's group, as one and at once, and then whoever left it; tell whether nothing is left."""
    _signal_group(hook, signal.SIGKILL)
    give_up_at = time.monotonic() + END_WAIT_S
    while process_tree.has_children() and time.monotonic() < give_up_at:
        process_tree.kill_until_none(lambda: process_tree.descendants(os.getpid()), give_up_at - time.monotonic())
        process_tree.reap()
    return not process_tree.has_children()


def _signal_group(hook: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(hook, number)
