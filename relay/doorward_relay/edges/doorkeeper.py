"""The kernel's tables and sshd's processes as one relay sees them: look, end, and see a port free.

Remembers the last walk through the processes, because walking is the dear part: sockets are read at every look, processes
only when the sockets that concern us changed, or every two seconds while anybody is connected.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from doorward_relay.contracts import PAUSE_S
from doorward_relay.edges import kernel
from doorward_relay.edges.sock_diag import established, listening_of
from doorward_relay.view import Listener, Socket, Tunnel, View, listening_on, view_from, visitors_on

_WALK_S: Final = 2.0


class Doorkeeper:
    """Looks at one sshd's connections and ends them (``contracts.Connections``)."""

    def __init__(self, *, ssh_port: int, tunnel_uid: int) -> None:
        """Nothing is read yet."""
        self._ssh_port, self._tunnel_uid = ssh_port, tunnel_uid
        self._walked: tuple[float, frozenset[int], View] | None = None
        self._listening: frozenset[int] | None = frozenset()

    def glance(self) -> View:
        """Look, walking the processes only if something may have changed."""
        table = kernel.sockets()
        inodes = self._inodes(table)
        if self._walked is not None:
            at, before, view = self._walked
            if inodes == before and (not inodes or time.monotonic() - at < _WALK_S):
                visitors = visitors_on(table, (one.port for one in view.listeners))
                seen = replace(view, visitors=visitors)
                return _told(seen) if view.tunnels else seen
        return _told(self._walk(table)) if inodes else self._walk(table)

    def has_news(self) -> bool:
        """Tell whether the tunnel user's listeners came or went since this was asked last: cheap, many times a second."""
        before, self._listening = self._listening, listening_of(self._tunnel_uid)
        return before != self._listening

    def look(self) -> View:
        """Look with the processes as they are now."""
        return self._walk(kernel.sockets())

    def end(self, tunnels: Iterable[Tunnel]) -> None:
        """Kill connections that are still the same ones."""
        for one in tunnels:
            kernel.end(*one.key)

    def listening(self, ports: Iterable[int]) -> tuple[Listener, ...]:
        """Give whoever listens on any of ``ports``, ours or not."""
        return listening_on(kernel.sockets(), ports, self._tunnel_uid)

    def names_of(self, listeners: Iterable[Listener]) -> tuple[str, ...]:
        """Name the processes that hold listeners, for people."""
        return kernel.holders_of(one.number for one in listeners)

    def caller_of(self, pid: int) -> Tunnel | None:
        """Find the connection through which a process runs."""
        tunnels = {one.key[0]: one for one in self.look().tunnels}
        return next((tunnels[up] for up in kernel.ancestors_of(pid) if up in tunnels), None)

    def is_serving(self) -> bool:
        """Tell whether anything listens where our sshd should."""
        return bool(listening_on(kernel.sockets(), (self._ssh_port,)))

    async def free(self, ports: tuple[int, ...], caller: Tunnel, limit_s: float) -> bool:
        """End every connection but ``caller`` that holds any of ``ports``; tell whether they are the caller's alone then."""
        deadline = time.monotonic() + limit_s
        while True:
            view = self.look()
            others = [one for one in view.holders_of(ports) if one.key != caller.key]
            self.end(others)
            own = {each.number for one in view.tunnels if one.key == caller.key for each in one.listeners}
            left = [one for one in self.listening(ports) if one.number not in own]
            is_foreign = any(not one.is_devices for one in left)
            if not left or is_foreign or time.monotonic() > deadline:
                return not left
            await asyncio.sleep(PAUSE_S)

    def _walk(self, table: tuple[Socket, ...]) -> View:
        inodes = self._inodes(table)
        processes = kernel.processes_of(self._tunnel_uid) if inodes else ()
        view = view_from(table, processes, ssh_port=self._ssh_port, tunnel_uid=self._tunnel_uid)
        self._walked = (time.monotonic(), inodes, view)
        return view

    def _inodes(self, table: tuple[Socket, ...]) -> frozenset[int]:
        """Give the sockets that concern us: the tunnel user's, and connections to our sshd."""
        return frozenset(
            one.inode
            for one in table
            if one.uid == self._tunnel_uid or (one.local_port == self._ssh_port and one.inode)
        )


def _told(view: View) -> View:
    """Add what the kernel tells about each connection."""
    infos = established()
    counts = {inode: info.count for inode, info in infos.items()}
    pulses = {one.number: infos[one.number].pulse for one in view.tunnels if one.number in infos}
    return replace(view, counts=counts, pulses=pulses)
