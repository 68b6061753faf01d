"""How long the runner takes from its start to its answer, against a cold Python that imports the same modules and does nothing.

The request is an order that a key signed which nobody pinned: everything is loaded and read that a good one needs, and no hook runs.
"""

import json
import time
from collections.abc import Sequence
from typing import Final

from doorward_protocol.signature import SigningKey

from tests.house.machine import PROGRAMS, Machine
from tests.parts.ports import free_port

_IMPORTS: Final = "for name in {names!r}: __import__(name)"
_TRIES: Final = """\
import sys
for name in sys.argv[1:]:
    try:
        __import__(name)
    except ImportError:
        continue
    print(name)
"""


class RunnerStart:
    """The runner of a joined device, started as root as its socket's unit does, and its anchor on the same machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        envelope = json.loads(SigningKey.generate().seal("order", b"{}"))
        self._order = json.dumps({"verb": "order", "envelope": envelope, "port": free_port()}).encode() + b"\n"
        self._imports = _IMPORTS.format(names=self._modules())

    def runner_s(self) -> float:
        """Have the runner refuse the order; gives how long that took."""
        started = time.monotonic()
        answer = json.loads(self._ran(PROGRAMS / "doorward-runner"))
        took_s = time.monotonic() - started
        assert answer["code"] == "order.unknown-key", answer
        return took_s

    def python_s(self) -> float:
        """Import the same modules and end; gives how long that took."""
        started = time.monotonic()
        self._ran(PROGRAMS / "python", "-c", self._imports)
        return time.monotonic() - started

    def _modules(self) -> Sequence[str]:
        """Name what the runner has imported by its end, in its order (``-X importtime``); what it looked for in vain is left out."""
        done = self._machine.run(
            PROGRAMS / "python", "-X", "importtime", PROGRAMS / "doorward-runner", stdin=self._order
        )
        lines = [line for line in done.stderr.decode().splitlines() if line.startswith("import time:")]
        names = [line.rpartition("|")[2].strip() for line in lines[1:]]
        return self._ran(PROGRAMS / "python", "-c", _TRIES, *names).decode().split()

    def _ran(self, *words: object) -> bytes:
        done = self._machine.run(*map(str, words), stdin=self._order)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout
