"""The daemon: put the runtime and its edges together, run them, and end them in order."""

import asyncio
import logging
import signal
import subprocess
import time
from typing import Final

from doorward_relay.config import RelayConfig
from doorward_relay.edges import keys, sshd
from doorward_relay.edges.admitting import Admitting
from doorward_relay.edges.control import Control
from doorward_relay.edges.files import make_folder
from doorward_relay.edges.hello_socket import serve_hello
from doorward_relay.edges.store import Store
from doorward_relay.runtime import Runtime

_LOG: Final = logging.getLogger("doorward.relay")
_SSHD_LIMIT_S: Final = 5.0


def clock() -> int:
    """Give the time in ms."""
    return time.time_ns() // 1_000_000


async def run(config: RelayConfig, *, with_sshd: bool) -> None:
    """Serve until SIGTERM or SIGINT; raises ConfigError when the relay is not installed."""
    admitting = Admitting(config)
    make_folder(config.run_dir, 0o755)
    admitting.place_hello()
    store = Store(config.database_file)
    runtime = Runtime(config, store, keys.record_key(config.record_key_file), admitting, clock)
    hello = await serve_hello(config.hello_socket, admitting.tunnel_uid, admitting.tunnel_gid, runtime.hello)
    control = Control(runtime)
    own_sshd = _start_sshd(config) if with_sshd else None
    try:
        runtime.start()
        await _until_told(asyncio.create_task(runtime.keep_watching()), asyncio.create_task(control.follow()))
    finally:
        await control.stop()
        hello.close()
        if with_sshd:
            await _end_sshd(config, own_sshd, runtime)
        store.close()
        config.hello_socket.unlink(missing_ok=True)


async def _until_told(*tasks: "asyncio.Task[None]") -> None:
    """Wait for a signal; what a task raises ends the daemon, loudly."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    waiting = asyncio.create_task(told.wait())
    try:
        done, _ = await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (waiting, *tasks):
            task.cancel()
        await asyncio.gather(waiting, *tasks, return_exceptions=True)


def _start_sshd(config: RelayConfig) -> "subprocess.Popen[bytes] | None":
    """Start our sshd, unless one of an earlier daemon still serves: its tunnels are kept."""
    return None if sshd.running(config) is not None else sshd.start(config)


async def _end_sshd(config: RelayConfig, own: "subprocess.Popen[bytes] | None", runtime: Runtime) -> None:
    """End sshd first, so that nobody comes in any more, then every connection that it had."""
    pid = own.pid if own is not None else sshd.running(config)
    if pid is not None:
        sshd.end(pid)
    deadline = time.monotonic() + _SSHD_LIMIT_S
    while sshd.is_serving(config) and time.monotonic() < deadline:  # noqa: ASYNC110 - no event comes from the kernel
        await asyncio.sleep(0.02)
    if own is not None:
        await asyncio.to_thread(own.wait, _SSHD_LIMIT_S)
    runtime.stop()
