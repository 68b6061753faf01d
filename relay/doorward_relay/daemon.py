"""The daemon: put the runtime and its edges together, run them, and end them in order.

Two compositions of one core: ``run`` stands beside an OpenSSH of its own, ``serve`` is all of it in one process.
"""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Coroutine
from typing import Any, Final

from doorward_relay.config import AlreadyRunning, ConfigError, RelayConfig
from doorward_relay.contracts import Front, KernelUnread
from doorward_relay.edges import keys, sshd
from doorward_relay.edges.admitting import Admitting
from doorward_relay.edges.clock import clock
from doorward_relay.edges.control import Control
from doorward_relay.edges.doorkeeper import Doorkeeper
from doorward_relay.edges.files import make_folder, take_alone
from doorward_relay.edges.hello_socket import serve_hello
from doorward_relay.edges.listener import Listener
from doorward_relay.edges.store import Store
from doorward_relay.edges.supervisor import Supervisor
from doorward_relay.runtime import Runtime

_LOG: Final = logging.getLogger("doorward.relay")

Work = Coroutine[Any, Any, None]


async def run(config: RelayConfig, *, with_sshd: bool) -> None:
    """Serve beside OpenSSH until SIGTERM or SIGINT; raises ConfigError when the relay is not installed."""
    admitting = Admitting(config)
    doorkeeper = Doorkeeper(ssh_port=config.ssh_port, tunnel_uid=admitting.tunnel_uid)
    _be_alone(config, 0o755)
    admitting.place_hello()
    store = Store(config.database_file)
    runtime = Runtime(config, store, keys.record_key(config.record_key_file), Front(admitting, doorkeeper), clock)
    hello = await serve_hello(
        config.hello_socket,
        admitting.tunnel_uid,
        admitting.tunnel_gid,
        lambda pid, session: runtime.hello(doorkeeper.caller_of(pid), session),
    )
    own_sshd = sshd.Own(config) if with_sshd else None
    try:
        await _work(runtime, () if own_sshd is None else (own_sshd.keep(),))
    finally:
        hello.close()
        if own_sshd is not None:
            await own_sshd.end()
            runtime.stop()
        store.close()
        config.hello_socket.unlink(missing_ok=True)


async def serve(config: RelayConfig) -> None:
    """Serve all in one process until SIGTERM or SIGINT; raises ConfigError when the relay is not installed."""
    from doorward_relay.edges.embedded.server import Server
    from doorward_relay.edges.embedded.status_socket import serve_status  # late: the managed relay needs no asyncssh

    _be_alone(config, 0o700)
    store = Store(config.database_file)
    server = Server(config, clock)
    runtime = Runtime(config, store, keys.record_key(config.record_key_file), Front(server, server), clock)
    if runtime.pinned is not None:
        server.trust(runtime.pinned.tunnel_ca)
    status = await serve_status(config.status_socket, server)
    try:
        await _work(runtime, (server.keep(runtime.hello),))
    finally:
        status.close()
        server.stop()
        runtime.stop()
        store.close()
        config.status_socket.unlink(missing_ok=True)


def _be_alone(config: RelayConfig, mode: int) -> None:
    make_folder(config.run_dir, mode)
    try:
        holder = take_alone(config.lock_file)
    except FileNotFoundError:
        raise ConfigError([f"{config.state_dir} is missing; run doorward-relay install"]) from None
    if holder is not None:
        raise AlreadyRunning(config, holder)


async def _work(runtime: Runtime, more: tuple[Work, ...]) -> None:
    """Watch, answer the console, and do what this kind of relay does besides."""
    gc.enable()  # see __main__
    listener, supervisor = Control(runtime).listener, Supervisor(os.environ)
    try:
        runtime.start()
        watching = runtime.keep_watching(lambda: supervisor.turn(lambda: _waits_for(runtime, listener)))
        await _until_told(*(asyncio.create_task(work) for work in (watching, listener.follow(), *more)))
    finally:
        supervisor.stopping()
        await listener.stop()


def _waits_for(runtime: Runtime, listener: Listener) -> str:
    """Name what is missing before this relay serves; empty when nothing is."""
    if not listener.is_listening:
        return f"the control port, {runtime.config.control_port}"
    try:
        return "" if runtime.is_serving else f"ssh on port {runtime.config.ssh_port}"
    except KernelUnread as error:
        return f"the kernel's tables: {error}"


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
