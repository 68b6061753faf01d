"""The control API: HTTPS between one console and this relay (protocol.md §7). Reads requests, decides nothing, writes answers.

While unpaired the port asks for no certificate and offers the pairing alone. Once paired it has another shape: TLS itself
refuses every client but the pinned one, and what got through is compared with the pinned certificate byte for byte.
"""

import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qsl

from doorward_protocol import fields
from doorward_protocol.fields import Malformed
from doorward_protocol.reasons import reason_of
from doorward_protocol.records import document_from_head
from doorward_protocol.signature import BadKey, KeyRing

import doorward_relay
from doorward_relay.chain import ReceiptRefused
from doorward_relay.contracts import StoreUnavailable
from doorward_relay.edges import keys
from doorward_relay.edges.conversation import Answer, Request
from doorward_relay.edges.listener import Listener
from doorward_relay.pairing import PairingOffer, Pinned, judge_token, request_from_document
from doorward_relay.requests import RequestRefused, end_request, envelope_bytes, reconcile_request, session_id
from doorward_relay.runtime import Runtime

LONGEST_WAIT_S: Final = 25
_STATUS: Final = {
    "relay.bad-token": 403,
    "relay.wrong-certificate": 403,
    "relay.not-paired": 403,
    "relay.grant-ended": 404,
    "relay.unknown-request": 404,
    "grant.malformed": 400,
    "grant.not-an-envelope": 400,
    "grant.too-large": 413,
    "relay.not-closed": 503,
    "relay.unavailable": 503,
}
"""The rest is 409: the request was understood and what stands is against it."""

Handler = Callable[[Request], Awaitable[Answer]]


class Control:
    """What is answered, and the ``listener`` in its two shapes."""

    def __init__(self, runtime: Runtime) -> None:
        """Nothing listens before the listener's ``follow``."""
        self._runtime = runtime
        self._open: dict[str, Handler] = {
            "POST /v1/pair": self._pair,
            "GET /healthz": self._healthz,
            "GET /readyz": self._readyz,
            "GET /version": self._version,
        }
        self._pinned: dict[str, Handler] = {
            "PUT /v1/grants/*": self._put,
            "POST /v1/grants/*/end": self._end,
            "POST /v1/reconcile": self._reconcile,
            "POST /v1/probe/*": self._probe,
            "GET /v1/records": self._records,
            "POST /v1/receipt": self._receipt,
        }
        self.listener = Listener(runtime, self._answer_anybody, self._answer_pinned, _not_understood)

    async def _answer_anybody(self, request: Request) -> Answer:
        """Answer while nobody is paired; who asks to be is answered once, whatever comes of it."""
        handler = self._open.get(_pattern(request))
        if handler is None:
            is_known = _pattern(request) in self._pinned
            return _refusal("relay.not-paired" if is_known else "relay.unknown-request")
        answer = await _answered(handler, request)
        return replace(answer, is_last=True) if handler == self._pair else answer

    async def _answer_pinned(self, request: Request) -> Answer:
        """Answer the client alone that is pinned now: TLS would also let pass what the pinned certificate issued."""
        pinned, shown = self._runtime.pinned, request.certificate
        if pinned is None or shown is None or shown != ssl.PEM_cert_to_DER_cert(pinned.client_certificate):
            return _refusal("relay.wrong-certificate")
        handler = self._pinned.get(_pattern(request)) or self._open.get(_pattern(request))
        return _refusal("relay.unknown-request") if handler is None else await _answered(handler, request)

    async def _pair(self, request: Request) -> Answer:
        asked = request_from_document(_document(request))
        if self._runtime.pinned is not None:
            raise RequestRefused("relay.already-paired")
        store, now = self._runtime.store, self._runtime.clock()
        judged = judge_token(store.offer(), asked.token, now=now)
        if isinstance(judged, PairingOffer):
            store.keep_offer(judged)
        if judged is not None:
            raise RequestRefused("relay.bad-token")
        _check_keys(asked.pinned)
        self._be_paired(asked.pinned, request)
        return Answer(self._introduction(asked.pinned))

    def _be_paired(self, pinned: Pinned, request: Request) -> None:
        try:
            self._runtime.pair(pinned)
        finally:
            if self._runtime.pinned is not None:  # also where something failed after that was kept
                self.listener.be_paired(request.descriptor)

    def _introduction(self, pinned: Pinned) -> dict[str, Any]:
        config = self._runtime.config
        return {
            "relay": pinned.relay,
            "kind": config.kind,
            "record_key": self._runtime.public_key,
            "version": doorward_relay.__version__,
            "ssh_host_keys": [keys.host_key_line(config.host_key_file)],
            "ssh_port": config.ssh_port,
            "tunnel_user": config.tunnel_user,
            "ports": list(config.ports),
            "clock_at": self._runtime.clock(),
        }

    async def _put(self, request: Request) -> Answer:
        session = session_id(_named(request))
        grant = self._runtime.put(envelope_bytes(_document(request), "grant"), session)
        return Answer({"session": grant.session, "seq": grant.sequence.number})

    async def _end(self, request: Request) -> Answer:
        session = session_id(_named(request))
        await self._runtime.end(session, end_request(_document(request)))
        return Answer({"session": session, "closed": True, "ports_free": True})

    async def _reconcile(self, request: Request) -> Answer:
        ended, missing = self._runtime.reconcile(reconcile_request(_document(request)))
        return Answer({"ended": ended, "missing": missing})

    async def _probe(self, request: Request) -> Answer:
        found = await self._runtime.probe(session_id(_named(request)))
        return Answer({"open": found.is_open, "code": found.code, "ms": found.ms, "banner": found.banner})

    async def _records(self, request: Request) -> Answer:
        after, wait_s = _number(request, "after"), min(_number(request, "wait"), LONGEST_WAIT_S)
        chain = self._runtime.chain
        if chain is None:
            raise RequestRefused("relay.not-paired")
        await chain.grows_beyond(after, wait_s)
        records = [json.loads(raw) for raw in chain.page(after)]
        return Answer(
            {
                "records": records,
                "head": document_from_head(chain.head),
                "live": sorted(self._runtime.ledger.live),
                "clock_at": self._runtime.clock(),
            }
        )

    async def _receipt(self, request: Request) -> Answer:
        self._runtime.receipt(envelope_bytes(_document(request), "receipt"))
        return Answer({})

    async def _healthz(self, _: Request) -> Answer:
        return Answer({"ok": True})

    async def _readyz(self, _: Request) -> Answer:
        is_up, is_kept = self._runtime.is_serving, not self._runtime.keeping.waiting
        answer = {"ok": is_up and is_kept, "sshd": is_up, "ledger": is_kept}
        return Answer(answer, status=200 if is_up and is_kept else 503)

    async def _version(self, _: Request) -> Answer:
        return Answer({"version": doorward_relay.__version__, "protocol": [1]})


async def _answered(handler: Handler, request: Request) -> Answer:
    """Give a handler's answer; a refusal is one, too."""
    try:
        return await handler(request)
    except (RequestRefused, ReceiptRefused) as refused:
        return _refusal(refused.code)
    except StoreUnavailable as unavailable:
        return _refusal("relay.unavailable", f"The relay's store does not work: {unavailable}.")
    except (Malformed, BadKey) as malformed:
        return _refusal("grant.malformed", str(malformed))


def _refusal(code: str, message: str | None = None) -> Answer:
    reason = reason_of(code)
    return Answer(
        {"code": code, "message": message or reason.meaning, "next": reason.next}, status=_STATUS.get(code, 409)
    )


def _not_understood(status: int, what: str) -> Answer:
    """Refuse what is no request at all, or more than one may be; whoever says such things is hung up on."""
    match status:
        case 413:
            said = _refusal("grant.too-large")
        case 500:
            said = _refusal("relay.unavailable", "The relay made a mistake; its log says which.")
        case _:
            said = _refusal("relay.unknown-request", f"The relay was not spoken to in HTTP/1.1: {what}.")
    return replace(said, status=status, is_last=status != 500)


def _pattern(request: Request) -> str:
    """Name what is asked for as the tables do: ``PUT /v1/grants/*``, and ``GET`` for ``HEAD``."""
    parts = request.target.partition("?")[0].split("/")
    path = "/".join([*parts[:3], "*", *parts[4:]] if len(parts) > 3 else parts)
    return f"{'GET' if request.verb == 'HEAD' else request.verb} {path}"


def _named(request: Request) -> str:
    """Give the session that a path names."""
    return request.target.partition("?")[0].split("/")[3]


def _check_keys(pinned: Pinned) -> None:
    """Refuse keys that could never verify anything; raises Malformed or BadKey."""
    KeyRing([pinned.grant_key, pinned.record_key])
    if not keys.is_certificate(pinned.client_certificate):
        raise Malformed("client_certificate", "one PEM certificate")


def _document(request: Request) -> Mapping[str, Any]:
    return fields.object_from_json(request.body)


def _number(request: Request, name: str) -> int:
    text = dict(parse_qsl(request.target.partition("?")[2])).get(name, "0")
    if not text.isdecimal() or len(text) > 18:
        raise Malformed(name, "a number")
    return int(text)
