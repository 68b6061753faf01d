"""The child that holds a paramiko tunnel: ``python -I -m doorward_agent.edges.paramiko_child``, started by ``paramiko_dialer``.

Its lines on standard input and output are described there. It ends when its input does, when the relay goes away or falls
silent, and by its death signal with the agent.
"""

import json
import logging
import os
import resource
import sys
import threading
from collections.abc import Mapping
from typing import Any, Final

# paramiko takes it where it is there, for one word of an ssh_config that nobody reads here: 7 MiB, and a quarter of the start.
sys.modules["invoke"] = None  # type: ignore[assignment]

from doorward_agent.edges.paramiko_link import Link, NotDialled, dialled  # noqa: E402

MEMORY_BYTES: Final = 256 * 1024 * 1024
"""paramiko trusts a relay to keep to the windows that it was given; one that does not takes the tunnel down, and no more."""
STACK_BYTES: Final = 256 * 1024


def main() -> int:
    """Dial, serve, and give the exit status."""
    _most, hardest = resource.getrlimit(resource.RLIMIT_DATA)
    most = MEMORY_BYTES if hardest == resource.RLIM_INFINITY else min(MEMORY_BYTES, hardest)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hardest))
    threading.stack_size(STACK_BYTES)
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    try:
        link = dialled(json.loads(sys.stdin.readline()))
    except NotDialled as failed:
        sys.stderr.write(f"tunnel: {failed}\n")
        _say({"failed": failed.code, "host_key_at": failed.host_key_at})
        return 1
    _say({"admitted": True, "host_key_at": link.host_key_at})
    threading.Thread(target=_serve, args=(link,), name="questions", daemon=True).start()
    link.keep()
    return 0


def _serve(link: Link) -> None:
    for line in sys.stdin:
        _say(_answer(link, json.loads(line)))
    link.close()


def _answer(link: Link, question: Mapping[str, Any]) -> Mapping[str, Any]:
    if "hello" in question:
        return {"said": link.hello()}
    return {"granted": link.forward(question["bind"], question["forward"], tuple(question["to"]))}


def _say(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    status = main()
    # Not sys.exit: threads that wait for a relay or a visitor would be waited for.
    os._exit(status)
