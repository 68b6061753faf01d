"""``doorward-console web``: the web process, uvicorn with TLS on the configured address."""

import argparse
import asyncio
import os
import signal
import sys
from types import FrameType
from typing import Final, NoReturn

import uvicorn
from django.conf import settings

from doorward_console.asgi import application
from doorward_console.config import Config
from doorward_console.edges.alone import be_alone
from doorward_console.edges.supervisor import Supervisor

_GRACE_S: Final = 5
"""Event streams last for hours; without a limit uvicorn waits for them at its end."""
_TURN_S: Final = 0.5


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; gives 1 when it could not start. Raises AlreadyRunning."""
    del arguments
    config: Config = settings.CONFIG
    be_alone("web", config.run_dir)
    supervisor = Supervisor(os.environ)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)  # uvicorn has its own while it serves, and raises anew what it took
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            host=config.listen_host,
            port=config.listen_port,
            ssl_certfile=str(config.tls_certificate),
            ssl_keyfile=str(config.tls_key),
            timeout_graceful_shutdown=_GRACE_S,
            lifespan="off",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            log_config=None,  # Django's own, which all three processes share
        )
    )
    try:
        asyncio.run(_serve(server, supervisor))
    finally:
        supervisor.stopping()
    return 0 if server.started else 1


async def _serve(server: uvicorn.Server, supervisor: Supervisor) -> None:
    """Serve, and say beside it that the loop turns, from when connections are taken on."""
    turning = asyncio.create_task(_turn(server, supervisor))
    await server.serve()
    turning.cancel()


async def _turn(server: uvicorn.Server, supervisor: Supervisor) -> None:
    while True:
        if server.started:
            supervisor.turn()
        await asyncio.sleep(_TURN_S)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)
