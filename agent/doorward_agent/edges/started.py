"""What the running agent was started with: it reads its configuration once, and whoever edits the file has to be told so."""

import contextlib
from typing import Final

from doorward_agent.config import Config
from doorward_agent.edges.files import DocumentStore, is_locked

_NAME: Final = "started"
RESTART: Final = (
    "The agent goes by what agent.toml said when it started, and that has changed since: "
    "restart the agent (systemctl restart doorward-agent)."
)


def note(store: DocumentStore, config: Config) -> None:
    """Write down for this boot what the agent goes by; there is no secret in it, only paths to some."""
    with contextlib.suppress(OSError):  # a full disk: then nobody is told
        store.save(_NAME, {"config": repr(config)}, durable=False)


def has_changed(store: DocumentStore, config: Config) -> bool:
    """Tell whether an agent runs that was started with another configuration than ``config``; who may not look is told no."""
    noted = store.load(_NAME) if is_locked(config.state_dir) else None
    return noted is not None and noted.get("config") != repr(config)
