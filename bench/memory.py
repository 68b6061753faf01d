"""What a process costs while it does nothing: its share of memory as the kernel counts it, and how often it wakes.

PSS (proc(5), smaps_rollup) counts a page that n processes share as an n-th for each: sums of it over processes are true.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

KIB_IN_MIB: Final = 1024


def pss_mib(pid: int | str) -> float:
    """Read one process's proportional share of memory; 0 for one that has just ended."""
    return _field(pid, "Pss:") / KIB_IN_MIB


def rss_mib(pid: int) -> float:
    """Read what of one process is in memory, pages that others share counted in full."""
    return _field(pid, "Rss:") / KIB_IN_MIB


def private_mib(pid: int) -> float:
    """Read what of one process nobody shares: unlike its proportional share it does not move when another process comes or goes."""
    return (_field(pid, "Private_Clean:") + _field(pid, "Private_Dirty:")) / KIB_IN_MIB


def _field(pid: int | str, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def total_pss_mib(pids: Iterable[int]) -> float:
    return sum(pss_mib(pid) for pid in pids)


def switches(pid: int) -> int:
    """Count how often a process's threads have been put on a processor and taken off it again, since they started."""
    return sum(_switches(task) for task in Path(f"/proc/{pid}/task").iterdir())


def _switches(task: Path) -> int:
    lines = (task / "status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches:" in line)


def pids_beside(pid: int) -> list[int]:
    """List the processes in the pid namespace of ``pid``: everything that runs on its machine."""
    namespace = _namespace(pid)
    return [one for one in _pids() if _namespace(one) == namespace]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _namespace(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/ns/pid").readlink()
    except OSError:
        return None


def name_of(pid: int) -> str:
    """Say what a process is, for a table: its program and the first argument that is no option."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "?"
    return " ".join(Path(word).name for word in words[:2] if word)[:40] or "?"
