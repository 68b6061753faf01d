"""One run of the runner: what it was configured with, what it remembers, when it is, and what it may answer."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from doorward_runner.config import RunnerConfig
from doorward_runner.edges import clock, files
from doorward_runner.edges.memory import Memory
from doorward_runner.promise import Moment

Deferred = Callable[[], Mapping[str, Any]]
Answered = Mapping[str, Any] | Deferred
"""What is answered, or how to come to it without holding up other requests."""


class Runner(NamedTuple):
    """One run: what it was configured with, what it remembers, and when it is."""

    config: RunnerConfig
    memory: Memory
    now: Moment


def prepared(config: RunnerConfig) -> Runner:
    """Make the folders that are missing, and read the clock; raises ConfigError."""
    files.prepare_folder(config.state_dir, mode=0o700)
    files.prepare_folder(config.run_dir, mode=0o755)
    return Runner(config, Memory(config.state_dir), clock.now())
