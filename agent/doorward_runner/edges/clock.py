"""The boot-time clock, from /proc (proc(5)): the same reading for Python and for the keeper's shell.

``/proc/uptime`` counts as CLOCK_BOOTTIME does, through suspend and without regard to the wall clock.
"""

from pathlib import Path

from doorward_runner.promise import Moment


def now() -> Moment:
    """Read the clock."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip().replace("-", "")
    return Moment(boot, float(Path("/proc/uptime").read_text(encoding="ascii").split()[0]))
