"""The kernel's tables and sshd's processes as one relay sees them: look, end, and see a port free.

Remembers the last walk through the processes, because walking is the dear part: sockets are read at every look, processes
only when the sockets that concern us changed, or every two seconds while anybody is connected.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from doorward_relay.edges import kernel
from doorward_relay.edges.sock_diag import byte_counts, listening_of
from doorward_relay.view import Listener, Socket, Tunnel, View, listening_on, view_from, visitors_on

PAUSE_S: Final = 0.02
_WALK_S: Final = 2.0


class Doorkeeper:
    """Looks at one sshd's connections and ends them."""

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
                return replace(view, visitors=visitors, counts=byte_counts() if view.tunnels else {})
        return replace(self._walk(table), counts=byte_counts() if inodes else {})

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
            kernel.end(one.pid, one.started)

    def listening(self, ports: Iterable[int]) -> tuple[Listener, ...]:
        """Give whoever listens on any of ``ports``, ours or not."""
        return listening_on(kernel.sockets(), ports)

    def is_tunnels(self, listener: Listener) -> bool:
        """Tell whether a listener is of the tunnel user."""
        return listener.uid == self._tunnel_uid

    async def free(self, ports: tuple[int, ...], caller: Tunnel, limit_s: float) -> bool:
        """End every connection but ``caller`` that holds any of ``ports``; tell whether they are the caller's alone then."""
        deadline = time.monotonic() + limit_s
        while True:
            view = self.look()
            others = [one for one in view.holders_of(ports) if one.pid != caller.pid]
            self.end(others)
            own = {each.inode for one in view.tunnels if one.pid == caller.pid for each in one.listeners}
            left = [one for one in self.listening(ports) if one.inode not in own]
            is_foreign = any(not self.is_tunnels(one) for one in left)
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
