"""asyncssh's connection with bounds on what one device makes it keep: what waits for it, and what it asked for."""

import asyncio
from typing import Any, Final

import asyncssh
from asyncssh.constants import MSG_IGNORE

from doorward_relay.edges.embedded.device import Device

_MOST_WAITING: Final = 32 * 1024 * 1024
"""Bytes for a device that does not read them while it goes on asking: more than all its visitors can have under way."""
_MOST_ASKED: Final = 64
"""Requests for ports that have not been answered yet; asyncssh keeps them all and answers one after the other."""

_SLACK_S: Final = 0.5
"""Heard so little after the last keep-alive: that was its answer."""


def _refuse(_packet: object) -> bool:
    return False


class Connection(asyncssh.SSHServerConnection):
    """asyncssh's own, which here minds how much waits for the device."""

    _heard_at = 0.0

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        """Send, without the empty packet that asyncssh puts before each one against an attack on CBC, which is not offered here."""
        if pkttype != MSG_IGNORE:
            super().send_packet(pkttype, *args, handler=handler)

    def pause_writing(self) -> None:
        """Read no more from the device's visitors than the device takes."""
        owner = self.get_owner()
        if isinstance(owner, Device):
            owner.hold_visitors()

    def resume_writing(self) -> None:
        """Read from its visitors again."""
        owner = self.get_owner()
        if isinstance(owner, Device):
            owner.release_visitors()

    def _reset_keepalive_timer(self) -> None:
        """Note that something came: a timer cancelled and made for each packet leaves thousands in the loop, which it clears in one go."""
        self._heard_at = self._loop.time()
        if self._keepalive_timer is None or self._keepalive_timer.when() > self._heard_at + self._keepalive_interval:
            super()._reset_keepalive_timer()

    def _keepalive_timer_callback(self) -> None:
        """Wait for the rest where something came meanwhile."""
        left_s = self._heard_at + self._keepalive_interval - self._loop.time()
        if left_s > _SLACK_S:
            self._keepalive_timer = self._loop.call_later(left_s, self._keepalive_timer_callback)
        else:
            super()._keepalive_timer_callback()

    async def reload_config(self) -> None:
        """Keep the one set of options: asyncssh makes one for each connection, for a configuration file that might name its user."""

    async def send_userauth_success(self) -> None:
        """Let go of what only the first key exchange needed; the next one, after hours, brings its own."""
        if not self._kex:  # a device may begin another while its log-in is looked at
            self._client_kexinit = self._server_kexinit = b""
        await super().send_userauth_success()

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        """Hear the device, unless it makes us answer without reading the answers, or does not wait for any."""
        owner = self.get_owner()
        is_deaf = isinstance(owner, Device) and owner.waiting_bytes() > _MOST_WAITING
        if is_deaf or len(self._global_request_queue) > _MOST_ASKED:
            self.abort()
        else:
            super().data_received(data, datatype)

    def create_server_channel(
        self, encoding: str | None = "", errors: str = "", window: int = 0, max_pktsize: int = 0
    ) -> asyncssh.SSHServerChannel[Any]:
        """Give hello a channel that remembers nothing of what it is told."""
        channel: asyncssh.SSHServerChannel[Any] = super().create_server_channel(encoding, errors, window, max_pktsize)
        channel._process_env_request = _refuse  # type: ignore[method-assign, assignment]  # noqa: SLF001 - asyncssh keeps all
        return channel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tell the owner of the transport, whose buffer asyncssh does not show."""
        super().connection_made(transport)
        owner = self.get_owner()
        if isinstance(owner, Device) and isinstance(transport, asyncio.Transport):
            owner.connected(transport)
