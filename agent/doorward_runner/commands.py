"""The runner's commands: each is written down as begun before its hook runs, and how it went before that is answered.

At most once, also across a loss of power: what was begun is never begun again. Called by ``runtime``, which has judged the
order and holds the lock of decisions; the hook itself runs under a lock of its own, so that a door can be shut meanwhile.
"""

import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from doorward_protocol.commands import ENDS_THE_BOOT, READ_SETTINGS, Outcome, RunCommand
from doorward_protocol.digests import Digest
from doorward_protocol.orders import Order
from doorward_protocol.revisions import NEVER, Revision

from doorward_runner.config import RunnerConfig
from doorward_runner.edges import files, log
from doorward_runner.edges.memory import Memory
from doorward_runner.errors import Refused
from doorward_runner.promise import Moment

INTERRUPTED: Final = Outcome("command.interrupted")


class Command(NamedTuple):
    """The last command that was taken, as it is written down.

    Attributes:
        boot: the one in which it began.
        outcome: None while it is at work, and where it was cut off.
    """

    revision: Revision = NEVER
    digest: Digest | None = None
    command: str = ""
    verb: str = ""
    boot: str = ""
    outcome: Outcome | None = None


def last_command(memory: Memory) -> Command:
    """Give the last command; one that says nothing before the first."""
    source = memory.document("command.json")
    if source is None:
        return Command()
    outcome = None if source["outcome"] is None else Outcome(**source["outcome"])
    revision = Revision(source["epoch"], source["revision"])
    return Command(revision, source["digest"], source["command"], source["verb"], source["boot"], outcome)


def begun(memory: Memory, order: Order, body: RunCommand, now: Moment) -> Command:
    """Write down that a command begins; durable when this returns."""
    taken = Command(order.revision, order.digest, body.command, body.verb, now.boot)
    _keep(memory, taken)
    log.event("begun", command=body.command, verb=body.verb)
    return taken


def carried_out(config: RunnerConfig, memory: Memory, taken: Command, body: RunCommand) -> Mapping[str, Any]:
    """Run the hook of a command that was written down as begun, and give the answer."""
    from doorward_runner.edges import hooks  # here, for a door's order does not need it

    document = {"verb": body.verb, "command": body.command, "arguments": body.arguments}
    ran = hooks.run(config.hooks, body.verb, document, memory.hooks, config.hook_limit_s, os.geteuid())
    result = ran.result
    if body.verb == READ_SETTINGS and result is not None:
        from doorward_runner import secrecy

        result = secrecy.said(memory, result)
    ended = taken._replace(outcome=Outcome(ran.code, ran.status, ran.said, result, ran.lasted_ms))
    _keep(memory, ended)
    log.event("ended", command=body.command, verb=body.verb, code=ran.code, status=ran.status)
    return answer(ended)


def told(config: RunnerConfig, memory: Memory, now: Moment) -> Mapping[str, Any]:
    """Say how the last command went; one that was cut off is decided now."""
    last = last_command(memory)
    if last.command and last.outcome is None:
        try:
            with files.locked(config.run_dir / "hook.lock", 0):
                last = _decided(last, now)
        except Refused:
            return answer(last)  # its hook is at work
        _keep(memory, last)
    return answer(last)


def _decided(cut_off: Command, now: Moment) -> Command:
    """Say how a command went whose runner was ended: what ends the boot has done so if this is another."""
    has_ended = cut_off.verb in ENDS_THE_BOOT and cut_off.boot != now.boot
    return cut_off._replace(outcome=Outcome(None) if has_ended else INTERRUPTED)


def answer(last: Command) -> Mapping[str, Any]:
    """Write what is known of a command."""
    state = "none" if not last.command else "begun" if last.outcome is None else "done"
    known = {} if last.outcome is None else last.outcome._asdict()
    return {"ok": True, "state": state, "command": last.command, "verb": last.verb, "boot": last.boot, **known}


def _keep(memory: Memory, command: Command) -> None:
    document = {
        "epoch": command.revision.epoch,
        "revision": command.revision.number,
        "digest": command.digest,
        "command": command.command,
        "verb": command.verb,
        "boot": command.boot,
        "outcome": None if command.outcome is None else command.outcome._asdict(),
    }
    memory.keep("command.json", document)
