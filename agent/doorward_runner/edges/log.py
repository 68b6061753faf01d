"""Events with fields, for the system's log; never a key, a token or a payload."""

import sys
import syslog
from pathlib import Path


def event(name: str, **fields: object) -> None:
    """Log ``name`` and its fields to syslog, or to standard error where there is none."""
    line = " ".join([name, *(f"{field}={value!s}" for field, value in fields.items())]).replace("\n", " | ")
    if Path("/dev/log").exists():
        syslog.openlog("doorward-runner", syslog.LOG_PID, syslog.LOG_DAEMON)
        syslog.syslog(syslog.LOG_NOTICE, line)
    else:
        complain(line)


def complain(sentence: str) -> None:
    """Say something on standard error, to whoever started us."""
    sys.stderr.write(f"doorward-runner: {sentence}\n")
