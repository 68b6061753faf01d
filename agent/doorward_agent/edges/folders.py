"""The agent's two folders: made with mode 0700, and found again."""

import os
from pathlib import Path
from typing import Final

from doorward_agent.config import Config

RUNTIME_DIR: Final = Path("/run/doorward-agent")


def runtime_dir(config: Config) -> Path:
    """Say where the folder for this boot is, without making it."""
    if config.runtime_dir is not None:
        return config.runtime_dir
    return RUNTIME_DIR if os.access(RUNTIME_DIR, os.W_OK) else config.state_dir / "run"


def made_runtime_dir(config: Config) -> Path:
    """Give the folder for this boot, made if it was not there; raises OSError."""
    folder = runtime_dir(config)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
