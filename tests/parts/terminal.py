"""A command as a person types it: all that it prints appears on one terminal."""

import os
import pty
import subprocess

from tests.parts.processes import PLAIN_ENVIRONMENT


def typed(*argv: str | os.PathLike[str], limit_s: float = 20) -> tuple[int, str]:
    """Run a program in a terminal of its own; gives its exit status and what was to be seen."""
    ours, its = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            [os.fspath(part) for part in argv],
            stdin=its, stdout=its, stderr=its, start_new_session=True, env=dict(PLAIN_ENVIRONMENT),
        )  # fmt: skip
        os.close(its)
        try:
            status = process.wait(limit_s)
        finally:
            process.kill()
        return status, _shown(screen.fileno()).replace("\r\n", "\n")


def _shown(screen: int) -> str:
    shown = b""
    while True:
        try:
            more = os.read(screen, 65_536)
        except OSError:  # how a terminal that nobody writes to any more ends
            return shown.decode(errors="replace")
        if not more:
            return shown.decode(errors="replace")
        shown += more
