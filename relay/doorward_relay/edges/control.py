"""The control API: HTTPS between one console and this relay (protocol.md §7). Reads requests, writes answers.

While unpaired the port asks for no certificate and offers the pairing alone. Once paired it has another shape: TLS itself
refuses every client but the pinned one, and what got through is compared with the pinned certificate byte for byte.
"""

import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Middleware
from doorward_protocol import fields
from doorward_protocol.fields import Malformed
from doorward_protocol.reasons import reason_of
from doorward_protocol.records import document_from_head
from doorward_protocol.signature import BadKey, KeyRing

import doorward_relay
from doorward_relay.chain import ReceiptRefused
from doorward_relay.contracts import StoreUnavailable
from doorward_relay.edges import keys
from doorward_relay.edges.listener import Listener
from doorward_relay.pairing import PairingOffer, Pinned, judge_token, request_from_document
from doorward_relay.requests import RequestRefused, end_request, envelope_bytes, reconcile_request, session_id
from doorward_relay.runtime import Runtime

LONGEST_BODY: Final = 1_048_576
"""A list of 20,000 sessions fits; an envelope is sixteen times smaller."""
LONGEST_WAIT_S: Final = 25
_STATUS: Final = {
    "relay.bad-token": 403,
    "relay.wrong-certificate": 403,
    "relay.not-paired": 403,
    "relay.grant-ended": 404,
    "grant.malformed": 400,
    "grant.not-an-envelope": 400,
    "grant.too-large": 413,
    "relay.not-closed": 503,
    "relay.unavailable": 503,
}
"""The rest is 409: the request was understood and what stands is against it."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Control:
    """What is answered, and the ``listener`` in its two shapes."""

    def __init__(self, runtime: Runtime) -> None:
        """Nothing listens before the listener's ``follow``."""
        self._runtime = runtime
        self.listener = Listener(runtime, self._unpaired(), self._paired())

    def _unpaired(self) -> web.Application:
        app = web.Application(client_max_size=LONGEST_BODY, middlewares=[_answering])
        app.add_routes([web.post("/v1/pair", self._pair), *self._open_routes()])
        return app

    def _paired(self) -> web.Application:
        app = web.Application(client_max_size=LONGEST_BODY, middlewares=[_answering, self._only_pinned()])
        app.add_routes(
            [
                web.post("/v1/pair", self._pair),
                web.put("/v1/grants/{session}", self._put),
                web.post("/v1/grants/{session}/end", self._end),
                web.post("/v1/reconcile", self._reconcile),
                web.post("/v1/probe/{session}", self._probe),
                web.get("/v1/records", self._records),
                web.post("/v1/receipt", self._receipt),
                *self._open_routes(),
            ]
        )
        return app

    def _only_pinned(self) -> Middleware:
        """Let the client alone pass that is pinned now: TLS would also let pass what the pinned certificate issued."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            pinned = self._runtime.pinned
            tls = None if request.transport is None else request.transport.get_extra_info("ssl_object")
            shown = None if tls is None else tls.getpeercert(binary_form=True)
            if pinned is None or shown is None or shown != ssl.PEM_cert_to_DER_cert(pinned.client_certificate):
                return _refusal("relay.wrong-certificate")
            return await handler(request)

        return check

    def _open_routes(self) -> list[web.RouteDef]:
        return [
            web.get("/healthz", _healthz),
            web.get("/readyz", self._readyz),
            web.get("/version", _version),
        ]

    async def _pair(self, request: web.Request) -> web.StreamResponse:
        asked = request_from_document(await _document(request))
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
        answer = web.json_response(self._introduction(asked.pinned))
        answer.force_close()
        return answer

    def _be_paired(self, pinned: Pinned, request: web.Request) -> None:
        try:
            self._runtime.pair(pinned)
        finally:
            if self._runtime.pinned is not None:  # also where something failed after that was kept
                self.listener.be_paired(request)

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

    async def _put(self, request: web.Request) -> web.StreamResponse:
        session = session_id(request.match_info["session"])
        grant = self._runtime.put(envelope_bytes(await _document(request), "grant"), session)
        return web.json_response({"session": grant.session, "seq": grant.sequence.number})

    async def _end(self, request: web.Request) -> web.StreamResponse:
        session = session_id(request.match_info["session"])
        await self._runtime.end(session, end_request(await _document(request)))
        return web.json_response({"session": session, "closed": True, "ports_free": True})

    async def _reconcile(self, request: web.Request) -> web.StreamResponse:
        ended, missing = self._runtime.reconcile(reconcile_request(await _document(request)))
        return web.json_response({"ended": ended, "missing": missing})

    async def _probe(self, request: web.Request) -> web.StreamResponse:
        found = await self._runtime.probe(session_id(request.match_info["session"]))
        return web.json_response({"open": found.is_open, "code": found.code, "ms": found.ms, "banner": found.banner})

    async def _records(self, request: web.Request) -> web.StreamResponse:
        after, wait_s = _number(request, "after"), min(_number(request, "wait"), LONGEST_WAIT_S)
        chain = self._runtime.chain
        if chain is None:
            raise RequestRefused("relay.not-paired")
        await chain.grows_beyond(after, wait_s)
        records = [json.loads(raw) for raw in chain.page(after)]
        return web.json_response(
            {
                "records": records,
                "head": document_from_head(chain.head),
                "live": sorted(self._runtime.ledger.live),
                "clock_at": self._runtime.clock(),
            }
        )

    async def _receipt(self, request: web.Request) -> web.StreamResponse:
        self._runtime.receipt(envelope_bytes(await _document(request), "receipt"))
        return web.json_response({})

    async def _readyz(self, _: web.Request) -> web.StreamResponse:
        is_up, is_kept = self._runtime.is_serving, not self._runtime.keeping.waiting
        answer = {"ok": is_up and is_kept, "sshd": is_up, "ledger": is_kept}
        return web.json_response(answer, status=200 if is_up and is_kept else 503)


async def _healthz(_: web.Request) -> web.StreamResponse:
    return web.json_response({"ok": True})


async def _version(_: web.Request) -> web.StreamResponse:
    return web.json_response({"version": doorward_relay.__version__, "protocol": [1]})


@web.middleware
async def _answering(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn a refusal into its answer."""
    try:
        return await handler(request)
    except (RequestRefused, ReceiptRefused) as refused:
        return _refusal(refused.code)
    except StoreUnavailable as unavailable:
        return _refusal("relay.unavailable", f"The relay's store does not work: {unavailable}.")
    except (Malformed, BadKey) as malformed:
        return _refusal("grant.malformed", str(malformed))


def _refusal(code: str, message: str | None = None) -> web.StreamResponse:
    reason = reason_of(code)
    answer = {"code": code, "message": message or reason.meaning, "next": reason.next}
    return web.json_response(answer, status=_STATUS.get(code, 409))


def _check_keys(pinned: Pinned) -> None:
    """Refuse keys that could never verify anything; raises Malformed or BadKey."""
    KeyRing([pinned.grant_key, pinned.record_key])
    if not keys.is_certificate(pinned.client_certificate):
        raise Malformed("client_certificate", "one PEM certificate")


async def _document(request: web.Request) -> Mapping[str, Any]:
    return fields.object_from_json(await request.read())


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "0")
    if not text.isdecimal() or len(text) > 18:
        raise Malformed(name, "a number")
    return int(text)
