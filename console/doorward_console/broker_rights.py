"""Who may say and hear what at the broker: a device its own topics, a worker all of them, nobody else anything.

A name is what the client's certificate says. Mosquitto reads the same rules as text (``acl_text``, mosquitto.conf(5));
the broker of a trial asks the predicates. Source: docs/protocol.md §2.
"""

from typing import Final

from doorward_protocol.topics import FROM_DEVICE, ROOT, TO_DEVICE, device_and_leaf, topic

REPLICAS: Final = 8
"""Names worker-1 to worker-8 have rights; each needs a certificate of its own to use them."""
WORKERS: Final = tuple(f"worker-{number}" for number in range(1, REPLICAS + 1))


def may_say(name: str, where: str) -> bool:
    """Tell whether ``name`` may publish on the topic ``where``."""
    return where.startswith(f"{ROOT}/") if name in WORKERS else _is_own(name, where, FROM_DEVICE)


def may_hear(name: str, where: str) -> bool:
    """Tell whether ``name`` may be sent what is published on the topic ``where``."""
    return where.startswith(f"{ROOT}/") if name in WORKERS else _is_own(name, where, TO_DEVICE)


def may_subscribe(name: str, wanted: str) -> bool:
    """Tell whether every topic that the filter ``wanted`` matches is one that ``name`` may hear."""
    return wanted.startswith(f"{ROOT}/") if name in WORKERS else wanted in {topic(name, leaf) for leaf in TO_DEVICE}


def acl_text() -> str:
    """Write the same for Mosquitto, which puts the certificate's name in the place of ``%u``."""
    workers = [f"user {name}\ntopic readwrite {ROOT}/#\n" for name in WORKERS]
    patterns = [f"pattern write {ROOT}/%u/{leaf}" for leaf in FROM_DEVICE]
    patterns += [f"pattern read {ROOT}/%u/{leaf}" for leaf in TO_DEVICE]
    return "\n".join(workers) + "\n" + "\n".join(patterns) + "\n"


def _is_own(name: str, where: str, leaves: tuple[str, ...]) -> bool:
    found = device_and_leaf(where)
    return found is not None and found[0] == name and found[1] in leaves
