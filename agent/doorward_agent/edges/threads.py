"""Threads that fail: the process ends with the first of them, for half an agent neither opens nor shuts and nobody starts it again.

Children die with the process; systemd, or whoever started it, starts the next one, which finds everything as it was.
"""

import logging
import os
import threading

_log = logging.getLogger(__name__)


def end_with_the_first() -> None:
    """See to it from now on that no thread fails alone."""
    threading.excepthook = _end


def _end(raised: threading.ExceptHookArgs) -> None:
    name = "" if raised.thread is None else raised.thread.name
    told = None if raised.exc_value is None else (raised.exc_type, raised.exc_value, raised.exc_traceback)
    _log.critical("thread failed name=%s; the agent ends", name, exc_info=told)
    os._exit(os.EX_SOFTWARE)  # an exit that asks the other threads to end would wait for them
