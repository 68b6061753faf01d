"""Status: what is live on this relay, read beside the daemon: from its database, its socket, and the kernel or itself."""

import pwd
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from doorward_relay.config import EMBEDDED, MANAGED, ConfigError, RelayConfig
from doorward_relay.contracts import StoreUnavailable
from doorward_relay.edges import kernel, sshd
from doorward_relay.edges.clock import clock
from doorward_relay.edges.store import Store
from doorward_relay.ledger import Ledger
from doorward_relay.pairing import Pinned
from doorward_relay.view import View, view_from
from doorward_relay.watch import is_granted

_STARTS: Final = {
    MANAGED: ("start doorward-relay.service", "start doorward-relay-sshd.service"),
    EMBEDDED: ("run doorward-relay serve", "look at what doorward-relay serve says"),
}
"""What to do about a part that does not run."""


def gather(config: RelayConfig) -> dict[str, Any]:
    """Collect the status as a JSON object; raises ConfigError when the relay is not installed."""
    if not config.database_file.exists():
        raise ConfigError([f"{config.database_file} is missing; run doorward-relay install"])
    ledger, pinned, reconciled = _kept(config)
    is_up, serves, view = _embedded(config) if config.is_embedded else _managed(config)
    surplus = [one.port for one in view.listeners if not is_granted(one, ledger)]
    return {
        "ok": is_up and serves and not surplus,
        "kind": config.kind,
        "daemon": is_up,
        "sshd": serves,
        "paired": None if pinned is None else {"relay": pinned.relay, "project": pinned.project, "epoch": pinned.epoch},
        "live": _live(ledger, view),
        "surplus": surplus,
        "reconciled_at": reconciled,
        "clock_at": clock(),
    }


def text_of(found: dict[str, Any]) -> str:
    """Write a status for people."""
    paired = found["paired"]
    start, start_ssh = _STARTS[found["kind"]]
    lines = [
        f"daemon    {'running' if found['daemon'] else f'not running; {start}'}",
        f"{'sshd' if found['kind'] == MANAGED else 'ssh '}      {'serving' if found['sshd'] else f'not serving; {start_ssh}'}",
        f"pairing   {'none; run doorward-relay install' if paired is None else 'project ' + paired['project']}",
        f"doors     {len(found['live'])} granted" if found["live"] else "doors     all shut",
    ]
    lines += [
        f"  {one['session']} {one['device']} ports {one['ports']} tunnel {one['tunnel']}" for one in found["live"]
    ]
    lines += [f"  port {port}: a listener without a grant" for port in found["surplus"]]
    return "\n".join(lines) + "\n"


def _kept(config: RelayConfig) -> tuple[Ledger, Pinned | None, int | None]:
    try:
        store = Store(config.database_file)
        try:
            return store.ledger(), store.pinned(), store.reconciled()
        finally:
            store.close()
    except StoreUnavailable as error:
        raise ConfigError([f"{config.database_file} cannot be read: {error}; is its disk full?"]) from None


def _live(ledger: Ledger, view: View) -> list[dict[str, Any]]:
    rows = []
    for session, live in sorted(ledger.live.items()):
        ports = [one.port for one in live.grant.forwards]
        holders = view.holders_of(ports)
        rows.append(
            {
                "session": session,
                "device": live.grant.device,
                "ports": ports,
                "ends_at": live.grant.ends_at,
                "tunnel": holders[0].peer if holders else None,
            }
        )
    return rows


def _embedded(config: RelayConfig) -> tuple[bool, bool, View]:
    from doorward_relay.edges.embedded.status_socket import ask_status  # late: the managed relay needs no asyncssh

    said = ask_status(config.status_socket)
    return (False, False, View((), (), ())) if said is None else (True, *said)


def _managed(config: RelayConfig) -> tuple[bool, bool, View]:
    return _answers(config.hello_socket), sshd.is_serving(config), _view(config)


def _view(config: RelayConfig) -> View:
    try:
        uid = pwd.getpwnam(config.tunnel_user).pw_uid
    except KeyError:
        raise ConfigError([f"tunnel_user: {config.tunnel_user} does not exist; run doorward-relay install"]) from None
    return view_from(kernel.sockets(), kernel.processes_of(uid), ssh_port=config.ssh_port, tunnel_uid=uid)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking, suppress(OSError):
        asking.settimeout(2)
        asking.connect(str(path))
        return True
    return False
