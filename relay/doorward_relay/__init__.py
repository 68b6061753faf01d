"""The relay: admits tunnels that hold a live grant, and nothing else."""

from typing import Final

__version__: Final = "0.1.0"
