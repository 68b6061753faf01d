"""A session's one answer at the embedded relay, whatever a device asks to run."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import asyncssh
from doorward_protocol.reasons import reason_of


class Hello(asyncssh.SSHServerSession[str]):
    """A session's one answer: a JSON line (protocol.md §7), whatever was asked to run; no terminal, no subsystem."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, str]], over: Callable[[], None]) -> None:
        """Nothing was asked yet."""
        self._ask, self._over = ask, over
        self._channel: asyncssh.SSHServerChannel[str] | None = None
        self._asking: asyncio.Task[None] | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[str]) -> None:
        """Remember where to answer."""
        self._channel = chan

    def connection_lost(self, _: Exception | None) -> None:
        """Nobody waits for the answer any more; what it began goes on."""
        self._channel = None
        self._over()

    def eof_received(self) -> bool:
        """Keep the way back open: a client whose standard input is empty still reads the answer."""
        return True

    def pty_requested(self, *_: object) -> bool:
        """Refuse a terminal."""
        return False

    def shell_requested(self) -> bool:
        """Give hello instead."""
        return True

    def exec_requested(self, _: str) -> bool:
        """Give hello instead."""
        return True

    def subsystem_requested(self, _: str) -> bool:
        """Refuse: sftp is one."""
        return False

    def session_started(self) -> None:
        """Answer."""
        self._asking = asyncio.get_running_loop().create_task(self._answer(), name="hello")

    async def _answer(self) -> None:
        code = await self._ask()
        if self._channel is not None:
            self._channel.write(json.dumps({"code": code, "next": reason_of(code).next}) + "\n")
            self._channel.exit(0)
