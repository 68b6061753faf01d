"""A device maker's schema, judged in a process of its own: what takes too long there ends there, and holds nobody up.

Schema and document go in by standard input, for the document may hold what is secret. As a program this module is that process.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from doorward_console.maintenance.documents.faults import Fault, Unusable

PATIENCE_S: Final = 10.0
"""A start takes 0.3 s; a machine under load ten times as long."""
_MOST_CPU_S: Final = 4
_MOST_MEMORY_BYTES: Final = 512 * 1024 * 1024


class NotJudged(Exception):
    """No answer came: the schema cannot be used, or it took too long; says which."""


def judged(schema: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[Fault, ...]:
    """Give the faults of ``values``; raises NotJudged."""
    asked = json.dumps({"schema": schema, "values": values}).encode()
    command = [sys.executable, "-I", "-m", __name__]
    try:
        done = subprocess.run(command, input=asked, capture_output=True, timeout=PATIENCE_S, check=False, env={})
    except subprocess.TimeoutExpired:
        raise NotJudged("it takes too long") from None
    if done.returncode:
        raise NotJudged("it takes too long or too much memory")
    said = json.loads(done.stdout)
    if said["unusable"] is not None:
        raise NotJudged(said["unusable"])
    return tuple(Fault(*one) for one in said["faults"])


def main() -> int:
    """Judge what stands on standard input."""
    from doorward_console.maintenance.documents.judging import (
        faults_of,  # loads the library, which whoever asks does not need
    )

    # Where a unit forbids setting limits, the time that our caller waits is the only one.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (_MOST_CPU_S, _MOST_CPU_S))
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY_BYTES, _MOST_MEMORY_BYTES))
    asked = json.load(sys.stdin)
    try:
        said: dict[str, Any] = {"unusable": None, "faults": faults_of(asked["schema"], asked["values"])}
    except Unusable as why:
        said = {"unusable": str(why), "faults": []}
    except (RecursionError, MemoryError):
        return 1
    sys.stdout.write(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
