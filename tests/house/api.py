"""The console as the house's people see it: the demo's client, from wherever the house's network lets one ask."""

from pathlib import Path

from demo.console import Console, Declined

from tests.house.network import Network

__all__ = ["Console", "Declined", "console_of"]


def console_of(address: str, root: Path, network: Network | None, host: str = "") -> Console:
    """Give somebody's view of the console at ``address``, who has yet to sign in; ``host`` is where that name leads to."""
    return Console(address, root, host=host) if network is None else Console(address, root, network.call, host)
