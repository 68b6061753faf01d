"""The command line: ``doorward-agent run | join | rehearse | forwards | hooks | status``.

Exit status: 0 done; 1 no (the sentence says why and what to do); 64 wrong usage; 69 a library is missing; 75 another agent runs
here; 77 not joined yet; 78 the configuration has faults.
"""

import atexit
import gc
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from doorward_agent.choices import chosen_from_words


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give the exit status."""
    os.umask(0o077)
    gc.disable()  # nothing is garbage that is being loaded; an agent that stays looks from when it has all of it
    atexit.register(gc.freeze)  # nor is it worth a look when all of it goes
    chosen = chosen_from_words(sys.argv[1:] if arguments is None else arguments)
    missing = [name for name in ("cryptography", "paho", "transitions") if find_spec(name) is None]
    if missing:
        return _complain(f"{', '.join(missing)} is missing; install doorward[agent]", os.EX_UNAVAILABLE)
    from doorward_agent import commands
    from doorward_agent.errors import AlreadyJoined, AlreadyRunning, ConfigError, JoinFailed, NotJoined

    try:
        return commands.run_command(chosen)
    except ConfigError as error:
        return _complain(str(error), os.EX_CONFIG)
    except NotJoined as error:
        return _complain(str(error), os.EX_NOPERM)
    except AlreadyRunning as error:
        return _complain(str(error), os.EX_TEMPFAIL)
    except (AlreadyJoined, JoinFailed) as error:
        return _complain(str(error), 1)


def _complain(sentence: str, status: int) -> int:
    sys.stderr.write(f"doorward-agent: {sentence}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
