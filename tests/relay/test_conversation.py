"""HTTP with one caller of the control port: whose turn it is, what is too much, and how long anybody may take."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import h11
import pytest
from doorward_relay.edges.conversation import LONGEST_BODY, Answer, Conversations, Request

pytestmark = pytest.mark.feature("E9")
SOON_S: Final = 0.1
LONG_S: Final = 30.0
LIMIT_S: Final = 10.0
OK: Final = b"HTTP/1.1 200 OK"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def get(target: str = "/healthz", *headers: str) -> bytes:
    """A request without a body."""
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: relay", *headers, "", ""]).encode()


def post(body: bytes, *headers: str) -> bytes:
    """A request with one."""
    head = ["POST /v1/reconcile HTTP/1.1", "Host: relay", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


class Answering:
    """Says what was asked; ``held`` and ``broken`` targets are special."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.begun = asyncio.Queue[None]()
        self.go_on = asyncio.Event()

    async def __call__(self, request: Request) -> Answer:
        self.asked.append(request)
        self.begun.put_nowait(None)
        if "held" in request.target:
            await self.go_on.wait()
        if "broken" in request.target:
            raise RuntimeError
        return Answer({"target": request.target, "bytes": len(request.body)}, is_last="last" in request.target)


def refusing(status: int, what: str) -> Answer:
    return Answer({"what": what}, status=status, is_last=status != 500)


def talk(with_caller: Talk, *, idle_s: float = LONG_S, saying_s: float = LONG_S) -> tuple[Answering, Conversations]:
    """Connect one caller to a server on loopback, and let him talk."""

    async def serve() -> tuple[Answering, Conversations]:
        answering = Answering()
        conversations = Conversations(answering, refusing, idle_s=idle_s, saying_s=saying_s)
        server = await asyncio.get_running_loop().create_server(conversations, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        try:
            await asyncio.wait_for(with_caller(reader, writer), LIMIT_S)
            answering.go_on.set()
            await conversations.end(LIMIT_S)
        finally:
            await _over(server, writer)
        return answering, conversations

    return asyncio.run(serve())


async def _over(server: asyncio.Server, *writers: asyncio.StreamWriter) -> None:
    """Hang up, and let the server's side hear of it: a transport that nobody closed would be warned of."""
    for writer in writers:
        writer.transport.abort()
    server.close()
    await asyncio.sleep(SOON_S / 2)


async def heard(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one answer: status and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(head.split()[1]), await reader.readexactly(int(length.partition(b":")[2]))


async def is_hung_up_on(reader: asyncio.StreamReader) -> bool:
    """Wait until the other end is gone; raises TimeoutError where it stays."""
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


def test_requests_when_sent_at_once_then_answered_one_after_the_other_and_in_their_order() -> None:
    """One connection has one turn: the second is not begun before the first is answered."""

    async def caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post(b"a" * 300_000) + get("/two") + get("/three"))
        assert [(await heard(reader))[1] for _ in range(3)] == [
            b'{"target": "/v1/reconcile", "bytes": 300000}',
            b'{"target": "/two", "bytes": 0}',
            b'{"target": "/three", "bytes": 0}',
        ]

    talk(caller)


def test_request_when_said_byte_by_byte_then_answered() -> None:
    """TCP keeps no borders."""

    async def caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for one in post(b'{"a": 1}'):
            writer.write(bytes([one]))
            await writer.drain()
            await asyncio.sleep(0)
        assert (await heard(reader))[0] == 200

    talk(caller)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 400),
        (get("/" + "a" * 70_000)[:-4], 431),
        (post(b"a" * (LONGEST_BODY + 1)), 413),
        (b"POST / HTTP/1.1\r\nHost: relay\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: relay\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ],
    ids=["not HTTP", "head too long", "body too long", "bad length", "unknown coding"],
)
def test_request_when_it_cannot_be_taken_then_it_is_told_so_and_hung_up_on(said: bytes, status: int) -> None:
    """What follows on such a connection means nothing."""

    async def caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        assert (await heard(reader))[0] == status
        assert await is_hung_up_on(reader)

    assert talk(caller)[0].asked == []


def test_body_when_it_comes_in_chunks_without_end_then_no_more_than_the_longest_is_kept() -> None:
    """A length that was not said beforehand is counted."""

    async def caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST / HTTP/1.1\r\nHost: relay\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(LONGEST_BODY // 65_536 + 1):
            writer.write(b"10000\r\n" + b"a" * 65_536 + b"\r\n")
        assert (await heard(reader))[0] == 413

    talk(caller)


@pytest.mark.parametrize("said", [b"", get()[:20], post(b"abc")[:-1]], ids=["nothing", "half a head", "half a body"])
def test_caller_when_he_takes_too_long_then_he_is_cut(said: bytes) -> None:
    """A descriptor is not kept for somebody who has nothing to say, or says it for ever."""

    async def caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        assert await is_hung_up_on(reader)

    talk(caller, idle_s=SOON_S if not said else LONG_S, saying_s=SOON_S if said else LONG_S)


def test_caller_when_he_sends_a_byte_now_and_then_then_his_time_is_not_counted_anew() -> None:
    """The limit is for the whole request."""

    async def caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone = asyncio.create_task(is_hung_up_on(reader))
        while not gone.done():
            writer.write(b"G" if not writer.transport.is_closing() else b"")
            await asyncio.sleep(SOON_S / 4)
        assert gone.result()

    talk(caller, saying_s=SOON_S)


def test_caller_when_he_is_idle_after_an_answer_then_he_is_cut_and_while_he_is_answered_he_is_not() -> None:
    """News may take longer than anything he may take."""

    async def caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(get("/held"))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON_S * 4)
        writer.write(get("/again"))

    answering, _ = talk(caller, idle_s=SOON_S, saying_s=SOON_S)
    assert [one.target for one in answering.asked] == ["/held"]

    async def idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(get())
        assert (await heard(reader))[0] == 200
        assert await is_hung_up_on(reader)

    talk(idle, idle_s=SOON_S)


@pytest.mark.parametrize(
    "said",
    [get("/last"), get("/", "Connection: close"), b"GET / HTTP/1.0\r\n\r\n"],
    ids=["our last answer", "his last request", "HTTP/1.0"],
)
def test_connection_when_one_of_the_two_wants_no_more_then_it_ends_with_the_answer(said: bytes) -> None:
    """Nobody waits for the other to hang up."""

    async def caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said + get("/after"))
        assert (await heard(reader))[0] == 200
        assert await is_hung_up_on(reader)

    assert len(talk(caller)[0].asked) == 1


def test_caller_when_he_only_wants_the_head_then_the_body_is_not_sent() -> None:
    """Monitoring asks with HEAD."""

    async def caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(get().replace(b"GET", b"HEAD") + get("/next"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(OK)
        assert (await heard(reader))[1].startswith(b'{"target": "/next"')

    talk(caller)


def test_caller_when_he_waits_to_be_told_to_go_on_then_he_is_told() -> None:
    """curl asks before it sends a long body."""

    async def caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = post(b"body", "Expect: 100-continue")
        writer.write(said[:-4])
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(said[-4:])
        assert (await heard(reader))[0] == 200

    talk(caller)


def test_answer_when_we_made_a_mistake_then_he_is_told_and_served_on(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the mistake; the answer does not."""

    async def caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(get("/broken"))
        assert (await heard(reader))[0] == 500
        writer.write(get())
        assert (await heard(reader))[0] == 200

    talk(caller)
    assert "control.fault" in caplog.text


def test_caller_when_he_leaves_before_his_answer_then_what_he_asked_is_done_and_nothing_is_left() -> None:
    """An end that was asked for is brought to its end."""

    async def caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.write(post(b"{}").replace(b"reconcile", b"held"))
        await writer.drain()
        await asyncio.sleep(SOON_S)
        writer.transport.abort()

    answering, conversations = talk(caller)
    assert len(answering.asked) == 1
    assert conversations.pending == {}


def test_end_when_somebody_waits_for_news_then_it_is_not_waited_for_and_what_is_being_done_is() -> None:
    """A relay that is told to end does so at once, and breaks nothing off."""

    async def ends() -> tuple[bool, bool]:
        answering = Answering()
        conversations = Conversations(answering, refusing)
        server = await asyncio.get_running_loop().create_server(conversations, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        writers = [(await asyncio.open_connection(host, port))[1] for _ in range(2)]
        writers[0].write(get("/held"))
        writers[1].write(post(b"{}").replace(b"reconcile", b"held"))
        for _ in writers:
            await answering.begun.get()
        polling, doing = sorted(conversations.pending, key=lambda task: conversations.pending[task].verb)
        ending = asyncio.create_task(conversations.end(LIMIT_S))
        await asyncio.sleep(SOON_S)
        assert polling.cancelled()
        assert not ending.done()
        answering.go_on.set()
        await asyncio.wait_for(ending, LIMIT_S)
        await _over(server, *writers)
        return polling.cancelled(), doing.cancelled()

    assert asyncio.run(ends()) == (True, False)


def test_request_when_another_one_reads_it_then_it_is_what_h11_writes() -> None:
    """The answer is HTTP for somebody who takes every rule seriously."""
    client = h11.Connection(h11.CLIENT)

    async def caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = h11.Request(method="GET", target="/x?after=1&wait=2", headers=[("Host", "relay")])
        writer.write((client.send(asked) or b"") + (client.send(h11.EndOfMessage()) or b""))
        events: list[object] = []
        while not any(isinstance(event, h11.EndOfMessage) for event in events):
            event = client.next_event()
            if event is h11.NEED_DATA:
                client.receive_data(await reader.read(65_536))
            else:
                events.append(event)
        answer = events[0]
        assert isinstance(answer, h11.Response)
        assert {b"date", b"content-type", b"content-length"} <= {name for name, _ in answer.headers}

    assert talk(caller)[0].asked[0].target == "/x?after=1&wait=2"
