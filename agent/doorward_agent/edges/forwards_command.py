"""``doorward-agent forwards``: the targets that this device's configuration allows, and whether one can be reached from here.

Nobody's permission is asked: whoever may run this may connect there anyway. The agent need not run.
"""

import sys

from doorward_agent.config import Config
from doorward_agent.edges.rehearse_command import line_of
from doorward_agent.edges.target_trial import TargetTrial

_NONE = "There is no forward in this device's configuration: add one under [forwards] in agent.toml."


def list_forwards(config: Config) -> int:
    """Print a line for each; gives the exit status."""
    lines = [f"{name:<20} {one.target}{_within(one.within)}" for name, one in config.forwards.items()]
    sys.stdout.write("\n".join(lines or [_NONE]) + "\n")
    return 0


def try_forward(config: Config, name: str) -> int:
    """Try one and print each step; gives the exit status: 0 where the target took the connection."""
    trial = TargetTrial(name, None, config.forwards)
    for tried in trial.run(with_banner=True):
        sys.stdout.write(line_of(tried.steps[-1]) + "\n")
        sys.stdout.flush()
    last = trial.tried
    if last.code is not None:
        sys.stdout.write(f"{name} cannot be reached{f', at {last.address}' if last.address else ''}.\n")
        return 1
    said = f'It says: "{last.banner}"' if last.banner else "It says nothing by itself, as many services do."
    sys.stdout.write(f"{name} is {last.target}, and takes connections at {last.address}. {said}\n")
    return 0


def _within(networks: tuple[str, ...]) -> str:
    return f"  within {', '.join(networks)}" if networks else ""
