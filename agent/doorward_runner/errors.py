"""What can go wrong in the runner, by whose fault it is and what to do about it.

Expected refusals of orders are values of ``doorward_protocol.admission``; ``Refused`` is for what only turns out while
acting. Any other exception is a bug of ours and ends the process with a traceback on standard error.
"""

from collections.abc import Sequence


class ConfigError(Exception):
    """The operator has to mend the configuration or the folders that it names; exit 78 (sysexits.h, EX_CONFIG)."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class Refused(Exception):
    """The runner will not, or could not: answered with a stable code (``doorward_protocol.reasons``)."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail
