"""Settings and their hooks: applying, and putting back by whichever way still works. Holds the hooks' lock meanwhile."""

import os
from collections.abc import Mapping
from typing import Any, Final

from doorward_runner import secrecy, settings
from doorward_runner.config import RunnerConfig
from doorward_runner.edges import clock, hooks, log
from doorward_runner.edges.hooks import Ran
from doorward_runner.edges.memory import Memory
from doorward_runner.settings import Settings

NOTHING_CHANGED: Final = (
    "hook.bad-arguments", "hook.not-possible", "hook.try-later", "hook.missing", "hook.unsafe", "hook.not-started",
)  # fmt: skip
"""So a hook says, or it never ran: putting back would undo the apply before, which was confirmed."""


def applied(config: RunnerConfig, memory: Memory, trial: Settings) -> Settings:
    """Apply what a trial asks for; what the hook does not take is put back at once.

    A device that cannot say how it is set could not be put back, and is not changed.
    """
    base = settings.base(memory, trial)
    if trial.overtakes:
        ran = _run(config, memory, "settings-revert", {"values": trial.good or {}, "failed": {}, "base": base})
        if ran.code is not None:
            return put_back(config, memory, settings.reverting(memory, trial._replace(said=ran.said), ran.code))
    if trial.good is None:
        ran = _run(config, memory, "settings-read", {})
        if ran.code is not None or ran.result is None:
            unread = trial._replace(state="reverted", code="settings.not-read", said=ran.said)
            return settings.keep(memory, unread)
        trial = settings.keep(memory, trial._replace(good=secrecy.said(memory, ran.result)["values"]))
    ran = _run(config, memory, "settings-apply", {"values": trial.values, "previous": trial.good, "base": base})
    if ran.code in NOTHING_CHANGED:
        return settings.keep(memory, trial._replace(state="reverted", code=ran.code, said=ran.said))
    if ran.code is not None:
        return put_back(config, memory, settings.reverting(memory, trial._replace(said=ran.said), ran.code))
    return settings.keep(memory, trial._replace(state="trying", said=ran.said))


def put_back(config: RunnerConfig, memory: Memory, going: Settings) -> Settings:
    """Put back what was good: by the hook that reverts, else by applying that anew; says so where both fail.

    The hook is told what to go back to, never to go one step back: whoever was killed cannot say whether an apply had begun.
    """
    good, base = going.good or {}, settings.base(memory, going)
    ran = _run(config, memory, "settings-revert", {"values": good, "failed": going.values, "base": base})
    if ran.code is not None:
        log.event("not-reverted", code=ran.code, next="the last good settings are applied anew")
        ran = _run(config, memory, "settings-apply", {"values": good, "previous": going.values, "base": base})
    if ran.code is None:
        return settings.keep(memory, going._replace(state="reverted"))
    now = clock.now()
    failed = going._replace(state="failed", said=ran.said, boot=now.boot, ends_s=now.uptime_s + settings.AGAIN_S)
    return settings.keep(memory, failed)


def _run(config: RunnerConfig, memory: Memory, verb: str, arguments: Mapping[str, Any]) -> Ran:
    # For the hook alone. Where the key is gone by now, putting back has to go on without what it opens.
    opened = {
        name: secrecy.opened(memory, one, is_lenient=True) if isinstance(one, Mapping) else one
        for name, one in arguments.items()
    }
    document = {"verb": verb, "command": None, "arguments": opened}
    return hooks.run(config.hooks, verb, document, memory.hooks, config.hook_limit_s, os.geteuid())
