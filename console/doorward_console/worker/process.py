"""The worker as a process: threads and signals around the runtime. Called by ``doorward-console worker`` and ``serve``."""

import logging
import os
import signal
import threading
from types import FrameType
from typing import Final

from django.conf import settings

from doorward_console.config import Config
from doorward_console.edges.broker import Broker
from doorward_console.edges.doorbell import Bell
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.edges.supervisor import Supervisor
from doorward_console.keys.opening import WorkerKeys
from doorward_console.worker.events import Rung
from doorward_console.worker.hearing import relay_head
from doorward_console.worker.relay_links import RelayLinks
from doorward_console.worker.runtime import Runtime

LOG: Final = logging.getLogger("doorward.worker")
MOST_EVENTS: Final = 10_000
LISTEN_S: Final = 1.0


def work() -> None:
    """Work until SIGTERM or SIGINT."""
    config: Config = settings.CONFIG
    keys = WorkerKeys(wrapping_key_from_file(config.worker_key))
    links = RelayLinks(keys, relay_head, MOST_EVENTS)
    broker = Broker(config, links.tell)
    runtime = Runtime(keys, broker, links)
    _stop_at_signals(runtime)
    bell, stopping, supervisor = Bell("worker"), threading.Event(), Supervisor(os.environ)
    listener = threading.Thread(target=_listen, args=(bell, links, stopping), name="doorbell", daemon=True)
    listener.start()
    broker.start()
    LOG.info("working name=%s broker=%s:%d", config.worker_name, config.broker_host, config.broker_port)
    try:
        runtime.run(supervisor.turn)
    finally:
        supervisor.stopping()
        stopping.set()
        bell.stop()
        broker.stop()
        links.stop()
        listener.join(timeout=2 * LISTEN_S)
        bell.close()


def _listen(bell: Bell, links: RelayLinks, stopping: threading.Event) -> None:
    while not stopping.is_set():
        if _has_rung(bell, stopping):
            links.tell(Rung())


def _has_rung(bell: Bell, stopping: threading.Event) -> bool:
    """Wait for a ring; a bell that fails is tried again, no more: without it the worker still looks each second."""
    try:
        return bell.wait(LISTEN_S)
    except Exception:  # the root of this thread: the database may be away
        LOG.exception("the doorbell cannot be heard")
        stopping.wait(LISTEN_S)
        return True


def _stop_at_signals(runtime: Runtime) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        runtime.stop()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
