"""The half of ``runtime`` that runs hooks: what is left to do once an order was judged, without holding up who opens or shuts.

What is decided is written down under the lock of decisions; hooks run after it was let go, under a lock of their own. Whoever
wants both takes the hooks' lock first and waits for it, or tries it for nothing with the other in hand: so nobody waits for ever.
"""

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

from doorward_protocol.commands import RunCommand
from doorward_protocol.orders import Order

from doorward_runner import commands, settings
from doorward_runner.config import RunnerConfig
from doorward_runner.edges import clock, files
from doorward_runner.errors import Refused
from doorward_runner.runs import Deferred, Runner, prepared


def run_command(runner: Runner, order: Order, body: RunCommand) -> Deferred:
    """Write a command down as begun, and give what is left to do once others may decide again."""
    hold = _hooks_held(runner)
    taken = commands.begun(runner.memory, order, body, runner.now)

    def run() -> Mapping[str, Any]:
        with hold:
            return commands.carried_out(runner.config, runner.memory, taken, body)

    return run


def try_settings(runner: Runner, order: Order, values: Mapping[str, Any]) -> Deferred:
    """Write a trial down and arm what ends it, and give what is left to do once others may decide again."""
    from doorward_runner import secrecy, trying  # here, for a door's order does not need it
    from doorward_runner.edges import trial_timer

    secrecy.opened(runner.memory, values)  # before anything is done: what cannot be opened is not tried
    hold, config = _hooks_held(runner), runner.config
    trial_timer.arm(config, config.trial_s, f"{order.revision.epoch}-{order.revision.number}")
    trial = settings.begun(runner.memory, order, values, runner.now, config.trial_s)

    def run() -> Mapping[str, Any]:
        with hold:
            return settings.answer(trying.applied(config, runner.memory, trial))

    return run


def _hooks_held(runner: Runner) -> ExitStack:
    """Hold the hooks' lock from here to the end of the stack; raises Refused ``runner.busy``."""
    hold = ExitStack()
    hold.enter_context(files.locked(runner.config.run_dir / "hook.lock", 0))
    return hold


def settle(runner: Runner) -> None:
    """Stand in for a trial's timer that was prevented: what is over is put back, without holding up who asks."""
    if settings.why_over(settings.last_settings(runner.memory), runner.now) is None:
        return
    with suppress(Refused), _hooks_held(runner):  # else somebody is at it
        from doorward_runner.edges import trial_timer

        trial_timer.arm(runner.config, 0, f"late-{int(runner.now.uptime_s)}")


def revert(config: RunnerConfig) -> None:
    """Put settings back whose trial is over; does nothing where they were confirmed: the timer's, and root's at boot."""
    from doorward_runner import trying

    runner = prepared(config)
    with files.locked(config.run_dir / "hook.lock", 3 * config.hook_limit_s):
        with files.locked(config.run_dir / "lock"):
            last = settings.last_settings(runner.memory)
            code = settings.why_over(last, clock.now())
            going = None if code is None else settings.reverting(runner.memory, last, code)
        if going is not None:
            trying.put_back(config, runner.memory, going)
