"""HTTP/1.1 with one caller: a request, its answer, the next one; and an end for whoever is slow to say what he wants.

h11 reads and writes HTTP and knows whose turn it is; here are the bytes and the time. Which requests there are, ``control``
knows; who may call at all, ``listener``. A caller is not read from while he is answered, so he keeps no more of our memory
than one request and what asyncio had read ahead.
"""

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

import h11

LONGEST_BODY: Final = 1_048_576
"""Bytes. A list of 20,000 sessions fits; an envelope is sixteen times smaller."""
IDLE_S: Final = 150.0
"""Between two requests. The console gives an unused connection up after 120 s, so it never asks on one that is being cut."""
SAYING_S: Final = 60.0
"""From a request's first byte to its last."""
_HIS_TURN: Final = (h11.IDLE, h11.SEND_BODY)
_LOG: Final = logging.getLogger("doorward.relay")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked, and by whom.

    Attributes:
        target: path and query, as they were sent.
        certificate: the caller's in DER; None where TLS asked for none.
        descriptor: the connection's.
    """

    verb: str
    target: str
    body: bytes
    certificate: bytes | None
    descriptor: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said to it; after the ``last`` one the connection is closed."""

    document: Mapping[str, Any]
    status: int = 200
    is_last: bool = False


Answering = Callable[[Request], Awaitable[Answer]]
Refusing = Callable[[int, str], Answer]
"""Gives what is said to somebody who did not speak HTTP, or said too much: by status, and what was wrong."""


class Conversations:
    """Makes a protocol for each caller, and knows what is being answered."""

    def __init__(
        self, answering: Answering, refusing: Refusing, *, idle_s: float = IDLE_S, saying_s: float = SAYING_S
    ) -> None:
        """``answering`` raises nothing that is not a mistake of ours."""
        self.answering, self.refusing = answering, refusing
        self.idle_s, self.saying_s = idle_s, saying_s
        self.pending: dict[asyncio.Task[None], Request] = {}

    def __call__(self) -> "Conversation":
        return Conversation(self)

    async def end(self, limit_s: float) -> None:
        """Let what is being done be done, for ``limit_s``; who waits for news waits no longer."""
        for task, request in self.pending.items():
            if request.verb == "GET":
                task.cancel()
        if self.pending:
            _, late = await asyncio.wait(self.pending, timeout=limit_s)
            for task in late:
                task.cancel()


class Conversation(asyncio.Protocol):
    """One caller, from his TLS handshake's end on."""

    def __init__(self, all_of_them: Conversations) -> None:
        """Nobody is connected yet."""
        self._all = all_of_them
        self._http = h11.Connection(h11.SERVER)
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._is_saying = False
        self._limit: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for his first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._allow(self._all.idle_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more; what he asked for is done to its end."""
        del exc
        self._allow(None)

    def data_received(self, data: bytes) -> None:
        """Read on, as far as a whole request; whoever talks on while he is answered is not read from until then."""
        if self._transport.is_closing():
            return
        if not self._is_saying:
            self._is_saying = True
            self._allow(self._all.saying_s)
        self._http.receive_data(data)
        if self._http.their_state in _HIS_TURN:
            self._hear()
        else:
            self._transport.pause_reading()

    def _allow(self, seconds: float | None) -> None:
        """Cut the connection after so long, or not at all."""
        if self._limit is not None:
            self._limit.cancel()
        loop = asyncio.get_running_loop()
        self._limit = None if seconds is None else loop.call_later(seconds, self._transport.abort)

    def _hear(self) -> None:
        try:
            while self._http.their_state in _HIS_TURN and self._is_heard(self._http.next_event()):
                pass
        except h11.RemoteProtocolError as error:
            self._give_up(error.error_status_hint, str(error))

    def _is_heard(self, event: object) -> bool:
        """Take one event; tells whether there may be another one."""
        match event:
            case h11.Request():
                self._head, self._body = event, bytearray()
            case h11.Data():
                self._body += event.data
                if len(self._body) > LONGEST_BODY:
                    self._give_up(413, f"a body of more than {LONGEST_BODY} bytes")
                    return False
            case h11.EndOfMessage():
                self._begin_to_answer()
            case _:  # more is needed
                if self._http.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    self._transport.write(self._http.send(go_on) or b"")
                return False
        return True

    def _begin_to_answer(self) -> None:
        self._allow(None)
        request = self._request()
        task = asyncio.create_task(self._answer(request))
        self._all.pending[task] = request
        task.add_done_callback(self._all.pending.pop)

    def _request(self) -> Request:
        head, tls = self._head, self._transport.get_extra_info("ssl_object")
        if head is None:
            raise AssertionError("h11 ends no request that it did not begin")
        return Request(
            head.method.decode("ascii"),
            head.target.decode("latin-1"),
            bytes(self._body),
            tls.getpeercert(binary_form=True) if isinstance(tls, ssl.SSLObject) else None,
            self._transport.get_extra_info("socket").fileno(),
        )

    async def _answer(self, request: Request) -> None:
        try:
            answer = await self._all.answering(request)
        except asyncio.CancelledError:  # the relay ends
            self._transport.abort()
            raise
        except Exception:  # noqa: BLE001 - a mistake of ours: it is logged, he is told, and everybody else is served
            _LOG.exception("control.fault")
            answer = self._all.refusing(500, "")
        self._say(answer)
        if not self._transport.is_closing():
            self._http.start_next_cycle()
            self._is_saying = False
            self._allow(self._all.idle_s)
            self._transport.resume_reading()
            self._hear()

    def _give_up(self, status: int, what: str) -> None:
        """Say what was wrong with that, where it can still be said, and hang up."""
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._say(self._all.refusing(status, what))
        self._transport.close()

    def _say(self, answer: Answer) -> None:
        """Send an answer, and hang up after the last one."""
        if self._transport.is_closing():
            return
        body = json.dumps(answer.document).encode()
        events = (
            h11.Response(status_code=answer.status, headers=_headers(answer, body), reason=_phrase(answer.status)),
            h11.Data(data=b"" if self._head is not None and self._head.method == b"HEAD" else body),
            h11.EndOfMessage(),
        )
        self._transport.write(b"".join(self._http.send(event) or b"" for event in events))
        if self._http.our_state is h11.MUST_CLOSE:
            self._allow(self._all.saying_s)  # for hearing it
            self._transport.close()


def _headers(answer: Answer, body: bytes) -> list[tuple[str, str]]:
    headers = [
        ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
        ("Content-Type", "application/json; charset=utf-8"),
        ("Content-Length", str(len(body))),
    ]
    return [*headers, ("Connection", "close")] if answer.is_last else headers


def _phrase(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode()
