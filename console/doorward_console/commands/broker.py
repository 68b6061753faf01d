"""``doorward-console broker``: the broker of a trial, in one terminal, where no Mosquitto is installed."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Final

from doorward_console.config import DEFAULT_PATH, ENVIRONMENT, Config, config_from_file

_NOISE: Final = ("amqtt", "transitions")
"""They tell each packet and each state."""


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; gives 1 where the port cannot be bound."""
    config = config_from_file(Path(arguments.config or os.environ.get(ENVIRONMENT) or DEFAULT_PATH))
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    for name in _NOISE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    host = arguments.listen or None
    try:
        return asyncio.run(_serve(config, host))
    except OSError as error:
        sys.stderr.write(f"Port {config.broker_port} (broker_port) cannot be bound: {error.strerror}. Name another.\n")
        return 1


async def _serve(config: Config, host: str | None) -> int:
    from doorward_console.edges.trial_broker import TrialBroker, context_from  # late: amqtt is the trial's alone

    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    broker = TrialBroker(context_from(config))
    await broker.start(host, config.broker_port)
    sys.stderr.write(f"Broker for a trial on port {config.broker_port}. Use Mosquitto for more: broker-config.\n")
    try:
        await told.wait()
    finally:
        await broker.stop()
    return 0
