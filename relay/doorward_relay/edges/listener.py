"""The control API's listener: one port for the relay's life, in the shape that the pairing calls for.

Which shape a caller meets is decided when he comes, by the pairing that stands in that moment. Who came before a pairing is
cut together with it, with no ``await`` between the two. Who came before it was withdrawn is cut when the next one comes, or a
second later; meanwhile each request of his is held against what is pinned (``control``), and that is nothing.
"""

import asyncio
import socket
import ssl
from typing import Final

from doorward_relay.config import ConfigError
from doorward_relay.edges import keys
from doorward_relay.edges.callers import Callers, Port
from doorward_relay.edges.conversation import Answering, Conversations, Refusing
from doorward_relay.runtime import Runtime

_CLOSE_S: Final = 1.0
_LOOK_S: Final = 1.0


class Listener:
    """Lets one function answer whoever comes while the relay is unpaired, and another the pinned client afterwards."""

    def __init__(self, runtime: Runtime, unpaired: Answering, paired: Answering, refusing: Refusing) -> None:
        """Nothing listens before ``follow``."""
        self.is_listening = False
        self._runtime = runtime
        self._unpaired, self._paired = Conversations(unpaired, refusing), Conversations(paired, refusing)
        self._port = Port(self._take)
        self._shape: str | None = None
        self._callers: Callers | None = None
        self._former: list[Callers] = []

    async def follow(self) -> None:
        """Listen in the shape that the pairing calls for; returns only by being cancelled. Raises ConfigError."""
        config = self._runtime.config
        try:
            await self._port.listen(None if config.listen == "*" else config.listen, config.control_port)
        except OSError as error:
            raise ConfigError([f"control_port: {config.control_port} cannot be bound: {error.strerror}"]) from None
        self.is_listening = True
        while True:
            self._standing()
            await asyncio.sleep(_LOOK_S)  # a pairing that was withdrawn at the command line says nothing to us

    async def stop(self) -> None:
        """Stop listening and cut who is connected."""
        self._port.close()
        self.is_listening = False
        self._leave()
        for one in self._former:
            one.cut_arriving()
        await asyncio.gather(self._unpaired.end(_CLOSE_S), self._paired.end(_CLOSE_S))
        for one in self._former:
            one.cut()

    def be_paired(self, answered: int) -> None:
        """Cut everybody but the one who paired us, by descriptor: his answer is the last that is said without a certificate."""
        self._leave(answered)

    def _take(self, caller: socket.socket) -> None:
        self._standing().take(caller)

    def _standing(self) -> Callers:
        """Give those who are served as the pairing that stands wants it; others are cut."""
        pinned = self._runtime.pinned
        shape = None if pinned is None else pinned.client_certificate
        if self._callers is None or shape != self._shape:
            self._leave()
            serve = self._unpaired if shape is None else self._paired
            self._callers, self._shape = Callers(self._context(shape), serve), shape
        return self._callers

    def _leave(self, answered: int | None = None) -> None:
        """Cut who has no certificate, but the one who is being ``answered``; who has one may first hear what he asked."""
        former, self._callers = self._callers, None
        if former is None:
            return
        if self._shape is None:
            former.cut(but=answered)
        else:
            former.cut_arriving()
        self._former.append(former)
        asyncio.get_running_loop().call_later(_CLOSE_S, self._end_former)

    def _end_former(self) -> None:
        self._former.pop(0).cut()

    def _context(self, shape: str | None) -> ssl.SSLContext:
        own = (self._runtime.config.tls_certificate_file, self._runtime.config.tls_key_file)
        return keys.unpaired_context(*own) if shape is None else keys.paired_context(*own, shape)
