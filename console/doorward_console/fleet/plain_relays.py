"""Plain relays: any sshd that somebody has already, known here by what its owner typed.

Nothing of ours runs there and nothing is asked of it when it is added: its host key is pasted, not fetched, for what is
fetched over the network is as good as the network (ADR 15). Called by pages and API; each change is in the history.
"""

import re
from dataclasses import dataclass, replace
from typing import Any, Final

from django.db import IntegrityError, transaction

from doorward_console.declined import Declined
from doorward_console.edges.doorbell import ring
from doorward_console.fleet.models import Relay
from doorward_console.history.writing import note
from doorward_console.keys.ssh import BadPublicKey, check_public_line
from doorward_console.maintenance.models import Session
from doorward_console.people.members import Who
from doorward_console.people.models import Project

_HOST: Final = re.compile(r"^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$|^[0-9A-Fa-f:]{2,45}$")
"""A name, an IPv4 or an IPv6 address; it goes into ssh's arguments, so it does not begin with a dash."""
_USER: Final = re.compile(r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$")
_TYPES: Final = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")
"""Types of host keys that a device accepts in an order, of those that sshd has."""
_MOST_KEYS: Final = 8
"""An order carries that many (protocol.md §3)."""


@dataclass(frozen=True, slots=True)
class PlainRelay:
    """What an owner says of a plain relay; ``host_keys`` are lines ``type base64``."""

    name: str
    host: str
    ssh_port: int
    user: str
    host_keys: tuple[str, ...]


def plain_relay_from_text(*, name: str, host: str, ssh_port: str | int, user: str, host_keys: str) -> PlainRelay:
    """Read what was typed; raises Declined for the first thing that cannot be."""
    found = PlainRelay(" ".join(name.split()), host.strip(), _port(ssh_port), user.strip(), ())
    if not 0 < len(found.name) <= 100:
        raise Declined("relay.name", "A relay has a name of 1 to 100 characters.", "Enter one.")
    if _HOST.fullmatch(found.host) is None:
        raise Declined(
            "relay.host",
            f"{found.host[:40]!r} is neither a host name nor an IP address.",
            "Enter the address by which devices, engineers and this console reach the relay, without ssh:// or a port.",
        )
    if _USER.fullmatch(found.user) is None:
        raise Declined(
            "relay.user", f"{found.user[:40]!r} is no user name.", "Enter the relay's user whose file it is."
        )
    return replace(found, host_keys=host_keys_from_text(host_keys))


def host_keys_from_text(text: str) -> tuple[str, ...]:
    """Read host keys as ``ssh-keyscan`` or a ``.pub`` file shows them; raises Declined for anything else.

    Comments, host names in front and comments behind are left away, and so are types that no device accepts, as long as
    one key remains.
    """
    found: dict[str, None] = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            key = _host_key(line.split())
            if key is not None:
                found[key] = None
    if not 0 < len(found) <= _MOST_KEYS:
        raise _no_host_key(f"There is no host key of a type that devices accept: {', '.join(_TYPES)}.")
    return tuple(found)


def _host_key(words: list[str]) -> str | None:
    at = next((place for place, word in enumerate(words[:2]) if word.startswith(("ssh-", "ecdsa-", "sk-"))), None)
    if at is None or len(words) < at + 2 or words[0].startswith("@"):
        raise _no_host_key(f"{' '.join(words)[:40]!r} is no host key.")
    if words[at] not in _TYPES:
        return None
    line = f"{words[at]} {words[at + 1]}"
    try:
        check_public_line(line)
    except BadPublicKey:
        raise _no_host_key(f"{line[:40]!r}… is no whole {words[at]} key.") from None
    return line


def _no_host_key(said: str) -> Declined:
    return Declined("relay.host-key", said, "On the relay, print it with: cat /etc/ssh/ssh_host_ed25519_key.pub")


def _port(text: str | int) -> int:
    if isinstance(text, int) or (text.isascii() and text.isdigit() and len(text) < 6):
        port = int(text)
        if 0 < port < 65_536:
            return port
    raise Declined("relay.port", f"{str(text)[:20]!r} is no TCP port.", "Enter a number from 1 to 65535; ssh's is 22.")


def add_plain_relay(project: Project, wanted: PlainRelay, who: Who) -> Relay:
    """Add a plain relay; raises Declined when its name is taken."""
    relay = Relay(project=project, kind=Relay.Kind.PLAIN, epoch=project.epoch)
    return _store(relay, wanted, who, "relay.added")


def change_plain_relay(relay: Relay, wanted: PlainRelay, who: Who) -> Relay:
    """Change what is known of a plain relay; raises Declined for another kind, a name taken, or under a live door."""
    if relay.kind != Relay.Kind.PLAIN:
        raise Declined("relay.not-plain", "This relay says for itself where and who it is.", "Pair it again instead.")
    is_same_place = (wanted.host, wanted.ssh_port, wanted.user) == (relay.host, relay.ssh_port, relay.tunnel_user)
    if not is_same_place and Session.objects.filter(relay=relay, state__in=Session.LIVE).exists():
        raise Declined("relay.door-live", "A door is open through this relay.", "Shut it first, then move the relay.")
    return _store(relay, wanted, who, "relay.changed")


def _store(relay: Relay, wanted: PlainRelay, who: Who, verb: str) -> Relay:
    relay.name, relay.host, relay.ssh_port, relay.tunnel_user = wanted.name, wanted.host, wanted.ssh_port, wanted.user
    relay.ssh_host_keys = list(wanted.host_keys)
    try:
        with transaction.atomic():
            relay.save()
            note(relay.project, verb, data={**who.named(), **_facts(relay)})
            ring("worker", "web")
    except IntegrityError:
        raise Declined(
            "relay.name-taken", f"Another relay is called {wanted.name!r} already.", "Choose another name."
        ) from None
    return relay


def _facts(relay: Relay) -> dict[str, Any]:
    return {
        "relay": relay.pk,
        "kind": relay.kind,
        "name": relay.name,
        "host": relay.host,
        "ssh_port": relay.ssh_port,
        "user": relay.tunnel_user,
        "ssh_host_keys": relay.ssh_host_keys,
    }
