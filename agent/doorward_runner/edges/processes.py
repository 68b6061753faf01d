"""Starting what outlives us: a session of its own, no descriptor of ours, a clean environment."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
KEEPER: Final = Path(__file__).parent.parent / "keeper.sh"


def start_apart(command: Sequence[str], before: Callable[[], None]) -> None:
    """Start ``command`` and let go of it; raises OSError.

    ``before`` runs in the new process ahead of the program: what it enters there, the program can never be outside of.
    """
    try:
        started = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            preexec_fn=before,  # noqa: PLW1509 - this process has one thread
        )
    except subprocess.SubprocessError as error:
        raise OSError(str(error)) from error
    started.returncode = 0  # it is init's child soon: nobody here waits for it
