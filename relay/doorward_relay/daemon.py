"""The daemon: put the runtime and its edges together, run them, and end them in order."""

import asyncio
import logging
import signal
import time
from typing import Final

from doorward_relay.config import ConfigError, RelayConfig
from doorward_relay.edges import keys, sshd
from doorward_relay.edges.admitting import Admitting
from doorward_relay.edges.control import Control
from doorward_relay.edges.files import make_folder, take_alone
from doorward_relay.edges.hello_socket import serve_hello
from doorward_relay.edges.store import Store
from doorward_relay.runtime import Runtime

_LOG: Final = logging.getLogger("doorward.relay")


def clock() -> int:
    """Give the time in ms."""
    return time.time_ns() // 1_000_000


async def run(config: RelayConfig, *, with_sshd: bool) -> None:
    """Serve until SIGTERM or SIGINT; raises ConfigError when the relay is not installed."""
    admitting = Admitting(config)
    make_folder(config.run_dir, 0o755)
    if not take_alone(config.lock_file):
        raise ConfigError([f"another doorward-relay runs with {config.run_dir}; end it first"])
    admitting.place_hello()
    store = Store(config.database_file)
    runtime = Runtime(config, store, keys.record_key(config.record_key_file), admitting, clock)
    hello = await serve_hello(config.hello_socket, admitting.tunnel_uid, admitting.tunnel_gid, runtime.hello)
    control = Control(runtime)
    own_sshd = sshd.Own(config) if with_sshd else None
    try:
        runtime.start()
        works = [runtime.keep_watching(), control.follow(), *([] if own_sshd is None else [own_sshd.keep()])]
        await _until_told(*(asyncio.create_task(work) for work in works))
    finally:
        await control.stop()
        hello.close()
        if own_sshd is not None:
            await own_sshd.end()
            runtime.stop()
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
