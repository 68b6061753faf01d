"""Hooks: a device maker's scripts, one verb each, run as this user, usually root (firmware-hooks/README.md).

Knows where a hook is looked for, whose it has to be, and what its end means. A hook is opened once, step by step from the
root of the file system; each step is judged by its descriptor and never by its name again, and what runs is a copy made
from that descriptor. So nothing can be put in its place in between. How it runs is ``hook_process``'s.
"""

import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from doorward_protocol import fields

from doorward_runner.edges import hook_process, systemd
from doorward_runner.edges.hook_process import GRACE_S, LONGEST_AFTER_S, MOST_STDOUT_BYTES, Ended
from doorward_runner.edges.processes import ENVIRONMENT

_SETTINGS: Final = ("settings-apply", "settings-read", "settings-revert")
VERBS: Final = ("factory-reset", "health", "message", "reboot", *_SETTINGS, "shutdown", "suspend", "system-info")
_CODES: Final[Mapping[int | None, str | None]] = {
    os.EX_OK: None,
    os.EX_USAGE: "hook.bad-arguments",
    os.EX_UNAVAILABLE: "hook.not-possible",
    os.EX_TEMPFAIL: "hook.try-later",
}
"""What exit statuses mean (sysexits.h); all others mean hook.failed."""


class Ran(NamedTuple):
    """How a hook went.

    Attributes:
        code: None where it went well, else one of ``doorward_protocol.reasons``.
        status: the exit status, 128 and the signal where one ended it, None where it did not start or had to be killed.
        said: the end of its standard error and what we have to say of it, for people.
        result: the object on its standard output, None where there is none.
    """

    code: str | None
    status: int | None
    said: str
    result: Mapping[str, Any] | None
    lasted_ms: int


class Found(NamedTuple):
    """What there is for a verb.

    Attributes:
        path: of the hook that would be run, or of the empty file that takes the verb away; None where there is neither.
        code: None where it would be run, else ``hook.missing`` or ``hook.unsafe``.
        said: what makes it unsafe, for people; it names the path.
    """

    verb: str
    path: str | None
    code: str | None
    said: str


class _Unsafe(Exception):
    """Somebody else could say what this hook does, or nobody can run it."""


def found(folders: Sequence[Path], *, owner: int) -> tuple[Found, ...]:
    """Say of each verb, in alphabetical order, which hook would be run or why none; no hook is run for it."""
    return tuple(_found(folders, verb, owner) for verb in VERBS)


def _found(folders: Sequence[Path], verb: str, owner: int) -> Found:
    try:
        with _opened(folders, verb, owner) as (path, hook):
            return Found(verb, str(path or "") or None, "hook.missing" if hook is None else None, "")
    except _Unsafe as unsafe:
        return Found(verb, None, "hook.unsafe", str(unsafe))


def run(
    folders: Sequence[Path], verb: str, document: Mapping[str, Any], place: Path, limit_s: float, owner: int
) -> Ran:
    """Run the hook of ``verb`` and give how it went; whatever goes wrong is an answer too.

    Args:
        folders: where hooks are looked for, the site's before ours; the first that has one decides, also by an unsafe one.
        verb: one of VERBS.
        document: what the hook reads on its standard input.
        place: a folder of ours alone (0700, not mounted noexec) that survives a reboot: copies, and what hooks keep.
        limit_s: after which it is ended, in seconds of CLOCK_MONOTONIC, which stands still while the machine sleeps.
        owner: whose hooks may be, besides root's.
    """
    try:
        with _opened(folders, verb, owner) as (_, hook):
            if hook is None:
                return Ran("hook.missing", None, "", None, 0)
            with _copied(hook, place / verb) as copy:
                return _judged(_run(copy, json.dumps(document).encode(), place / "state", limit_s), limit_s)
    except _Unsafe as unsafe:
        return Ran("hook.unsafe", None, str(unsafe), None, 0)
    except OSError as error:
        return Ran("hook.not-started", None, f"It cannot run as a copy in {place}: {error.strerror or error}.", None, 0)


@contextmanager
def _opened(folders: Sequence[Path], verb: str, owner: int) -> Iterator[tuple[Path | None, int | None]]:
    """Hold the hook open beside its path; None where there is none, or where an empty one takes the verb away."""
    with ExitStack() as opened:
        for folder in folders if verb in VERBS else ():
            hook = _open(folder / verb, owner, opened)
            if hook is not None:
                yield folder / verb, hook if os.fstat(hook).st_size else None
                return
        yield None, None


def _open(path: Path, owner: int, opened: ExitStack) -> int | None:
    """Open the file at ``path`` without following a link anywhere; None where there is none."""

    def step(name: str, flags: int, above: int | None = None) -> int:
        descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
        opened.callback(os.close, descriptor)
        return descriptor

    try:
        here = step("/", os.O_PATH | os.O_DIRECTORY)
        for folder in reversed(path.parents[:-1]):
            here = step(folder.name, os.O_PATH | os.O_DIRECTORY, here)
            _check(os.fstat(here), folder, owner, may_be_shared=folder != path.parent)
        # Not blocking: a named pipe in its place would hold us until somebody writes.
        hook = step(path.name, os.O_RDONLY | os.O_NONBLOCK, here)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _Unsafe(
            f"{path}: {error.filename} cannot be opened ({error.strerror}); links are not followed."
        ) from error
    _check(found := os.fstat(hook), path, owner)
    if not stat.S_ISREG(found.st_mode) or (found.st_size and not found.st_mode & stat.S_IXUSR):
        raise _Unsafe(f"{path}: it is no file that its owner may execute.")
    return hook


def _check(found: os.stat_result, path: Path, owner: int, *, may_be_shared: bool = False) -> None:
    """Refuse what others can write to; ``may_be_shared``: as /tmp is, where nobody can rename what is another's."""
    if found.st_uid not in (0, owner):
        raise _Unsafe(f"{path}: it belongs to user {found.st_uid}.")
    if found.st_mode & 0o022 and not (may_be_shared and found.st_mode & stat.S_ISVTX):
        raise _Unsafe(f"{path}: its group or others may write to it.")


@contextmanager
def _copied(hook: int, copy: Path) -> Iterator[Path]:
    """Have a copy of the open ``hook`` for as long as it runs: what changes on the disk meanwhile changes nothing."""
    copy.unlink(missing_ok=True)  # of a runner that was killed
    try:
        sent, before = 0, os.fstat(hook)
        with os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o700), "wb") as target:
            while more := os.sendfile(target.fileno(), hook, sent, before.st_size - sent):
                sent += more
        if os.fstat(hook).st_mtime_ns != before.st_mtime_ns or sent != before.st_size:
            raise _Unsafe("It was changed while it was copied; whoever replaces a hook renames a whole one over it.")
        yield copy
    finally:
        with suppress(OSError):
            copy.unlink()


def _run(copy: Path, stdin: bytes, state: Path, limit_s: float) -> Ended:
    """Run the copy; under systemd as a unit of its own, for a hook needs the rights that the runner's unit has given up.

    Whatever is killed of ours, that unit goes on: so what is left of the last ends first.
    """
    state.mkdir(mode=0o700, exist_ok=True)
    own = {"DOORWARD_VERB": copy.name, "DOORWARD_STATE": str(state), "DOORWARD_PYTHON": sys.executable}
    environment = {**ENVIRONMENT, "LC_ALL": "C", **own}
    if not systemd.SystemdCloser().is_possible():
        return hook_process.run([str(copy)], environment, stdin, limit_s)
    if not systemd.end_hooks():  # of a runner that was killed: systemd goes on with what it started
        return Ended(None, b"", b"", "An earlier hook runs and cannot be ended.", 0, has_begun=False)
    command = systemd.hook_command(copy, environment, limit_s, GRACE_S)
    ended = hook_process.run(command, environment, stdin, limit_s + LONGEST_AFTER_S)
    if ended.status is None:
        systemd.end_hooks()  # whoever waited for it was ended, and that does not end it
    return ended


def _judged(ended: Ended, limit_s: float) -> Ran:
    result, fault, remark = _result(ended.stdout)
    code, status = _CODES.get(ended.status, "hook.failed") or fault, ended.status
    if not ended.has_begun:
        code, status = "hook.not-started", None
    elif ended.lasted_ms >= limit_s * 1000:
        code, remark = "hook.too-slow", f"It was ended after {limit_s:g} s."
    elif status is not None and status < 0:
        status, remark = 128 - status, f"Signal {-status} ended it."
    return Ran(code, status, _said(ended.stderr, remark, ended.remark), result, ended.lasted_ms)


def _result(stdout: bytes) -> tuple[Mapping[str, Any] | None, str | None, str]:
    """Read the object on a hook's standard output; else the code and the remark where it says something else."""
    too_much = (None, "hook.too-much", f"Its standard output is longer than {MOST_STDOUT_BYTES} bytes.")
    if len(stdout) > MOST_STDOUT_BYTES:
        return too_much
    if not stdout.strip():
        return None, None, ""
    try:
        found = fields.object_from_json(stdout)
    except fields.Malformed:
        return None, "hook.failed", "Its standard output is not one JSON object in UTF-8."
    # Measured as it travels: there, a letter that is not ASCII takes six bytes.
    return (found, None, "") if len(json.dumps(found)) <= MOST_STDOUT_BYTES else too_much


def _said(stderr: bytes, *remarks: str) -> str:
    """Give text that a record can hold and a page can show: the end of what the hook said, and our remarks."""
    text = "\n".join([stderr.decode(errors="replace").rstrip(), *remarks]).strip().replace("\ufffd", "?")
    return "".join(one if one.isprintable() or one in "\n\t" else "?" for one in text)[-4096:]
