"""When to try something again: pure bookkeeping of attempts by name."""

from typing import Final

FIRST_MS: Final = 1_000
LONGEST_MS: Final = 30_000


class Pauses:
    """Remembers for each thing that failed how long it has to wait; forgets what is done."""

    __slots__ = ("_failures", "_not_before", "_under_way")

    def __init__(self) -> None:
        self._failures: dict[object, int] = {}
        self._not_before: dict[object, int] = {}
        self._under_way: set[object] = set()

    def begin(self, name: object, now: int) -> bool:
        """Tell whether ``name`` may be tried now; if so it is under way until it is forgotten or failed."""
        if name in self._under_way or now < self._not_before.get(name, 0):
            return False
        self._under_way.add(name)
        return True

    def forget_all(self) -> None:
        """Count everything as never tried: what was under way may have been lost."""
        self._failures.clear()
        self._not_before.clear()
        self._under_way.clear()

    def forget(self, name: object) -> None:
        """Count ``name`` as done."""
        self._under_way.discard(name)
        self._failures.pop(name, None)
        self._not_before.pop(name, None)

    def failed(self, name: object, now: int) -> None:
        """Let ``name`` wait: a second, then twice as long each time, at most half a minute."""
        self._under_way.discard(name)
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        self._not_before[name] = now + min(FIRST_MS * 2 ** min(failures - 1, 10), LONGEST_MS)
