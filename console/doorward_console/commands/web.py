"""``doorward-console web``: the web process, uvicorn with TLS on the configured address."""

import argparse
from typing import Final

import uvicorn
from django.conf import settings

from doorward_console.config import Config

_GRACE_S: Final = 5
"""Event streams last for hours; without a limit uvicorn waits for them at its end."""


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; gives 1 when it could not start."""
    del arguments
    config: Config = settings.CONFIG
    server = uvicorn.Server(
        uvicorn.Config(
            "doorward_console.asgi:application",
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
    server.run()
    return 0 if server.started else 1
