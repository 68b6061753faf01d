"""The console: where people ask for openings, and where the history is kept."""

from typing import Final

__version__: Final = "0.1.0"
