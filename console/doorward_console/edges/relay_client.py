"""The relay's control API as the console calls it: HTTPS, mutual TLS, the relay's certificate pinned (protocol.md §7).

Nothing is sent before the relay has shown the pinned certificate and proved that it holds its key: the certificate is the
connection's only trust anchor, so host names and dates in it do not matter. httpcore's errors end here: whoever calls sees
``RelayAway`` (nobody answered, or somebody else did) or ``RelayRefused`` (the relay said no), both with a reason code.
"""

import json
import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpcore
from doorward_protocol import fields
from doorward_protocol.fields import Malformed
from doorward_protocol.joining import fingerprint_of
from doorward_protocol.records import Head, head_from_document

CONNECT_S: Final = 5
ANSWER_S: Final = 15
"""The relay answers an end within 10 s (protocol.md §7); a probe and a put are quicker."""
LONGEST_WAIT_S: Final = 25
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME: a pinned certificate is the right one whatever year it is."""

_FAILED: Final = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)
_HUNG_UP: Final = (httpcore.RemoteProtocolError, httpcore.ReadError, httpcore.WriteError)
"""What httpcore raises when a connection that was made ends without an answer."""


class RelayAway(Exception):
    """The relay cannot be talked to; ``code`` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class RelayRefused(Exception):
    """The relay said no; ``code`` is the relay's own."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class RelayPlace:
    """Where a relay listens, and the PEM of the one certificate that it may show."""

    host: str
    port: int
    certificate: str


@dataclass(frozen=True, slots=True)
class ControlIdentity:
    """The console's client certificate at relays."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of the long poll."""

    records: tuple[bytes, ...]
    head: Head
    live: tuple[str, ...]
    clock_at: int


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Sessions that the relay ended because they were not wanted, and wanted ones that it does not have."""

    ended: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Probed:
    """Whether the door answers where engineers will knock."""

    is_open: bool
    code: str | None
    ms: int | None


@dataclass(frozen=True, slots=True)
class Paired:
    """What a relay says of itself when it is paired."""

    record_key: str
    version: str
    ssh_host_keys: tuple[str, ...]
    ssh_port: int
    tunnel_user: str
    low_port: int
    high_port: int
    clock_at: int
    kind: str


class RelayClient:
    """A warm connection to one relay; its calls may be made from several threads."""

    def __init__(self, place: RelayPlace, identity: ControlIdentity | None) -> None:
        """Prepare; connects at the first call. Without ``identity`` only pairing is possible."""
        host = f"[{place.host}]" if ":" in place.host else place.host
        self._authority = f"{host}:{place.port}"
        self._http = httpcore.ConnectionPool(
            _context(place.certificate, identity),
            max_connections=None,
            max_keepalive_connections=4,
            keepalive_expiry=120,
        )

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def put_grant(self, session: str, envelope: bytes) -> None:
        """Put a signed grant; the very same again is a success."""
        self._call("PUT", f"/v1/grants/{session}", {"grant": json.loads(envelope)})

    def end_grant(self, session: str, epoch: int, sequence: int, why: str) -> None:
        """End a session; returns once nothing listens for it any more."""
        answer = self._call("POST", f"/v1/grants/{session}/end", {"epoch": epoch, "seq": sequence, "why": why})
        if answer.get("closed") is not True or answer.get("ports_free") is not True:
            raise RelayRefused("relay.not-closed")

    def reconcile(self, epoch: int, as_of: int, sessions: Sequence[str]) -> Reconciled:
        """Say which sessions are wanted, as of a sequence."""
        answer = self._call("POST", "/v1/reconcile", {"epoch": epoch, "as_of": as_of, "sessions": list(sessions)})
        with _read():
            ended, missing = (fields.texts(answer, name, most=100_000) for name in ("ended", "missing"))
            return Reconciled(ended, missing)

    def probe(self, session: str) -> Probed:
        """Ask the relay to knock at a session's port as an engineer would."""
        answer = self._call("POST", f"/v1/probe/{session}", {})
        with _read():
            code = fields.text_or_none(answer, "code", longest=60)
            return Probed(answer.get("open") is True, code, fields.integer_or_none(answer, "ms"))

    def records(self, after: int, wait_s: int) -> Page:
        """Wait up to ``wait_s`` (at most 25) for records after ``after``."""
        answer = self._call("GET", f"/v1/records?after={after}&wait={wait_s}", None, limit_s=wait_s + ANSWER_S)
        with _read():
            return Page(
                tuple(json.dumps(one).encode() for one in fields.mappings(answer, "records", most=10_000)),
                head_from_document(fields.mapping(answer, "head")),
                fields.texts(answer, "live", most=100_000),
                fields.integer(answer, "clock_at"),
            )

    def send_receipt(self, envelope: bytes) -> None:
        """Tell the relay how far its records are stored."""
        self._call("POST", "/v1/receipt", {"receipt": json.loads(envelope)})

    def version(self) -> str:
        """Ask which version of doorward-relay answers."""
        with _read():
            return fields.text(self._call("GET", "/version", None), "version", longest=40)

    def pair(self, document: Mapping[str, Any]) -> Paired:
        """Present the token and what the relay is to pin.

        From its pairing on a relay answers nobody but its own console: it shows its certificate, asks for that console's,
        and hangs up (``relay.already-paired``).
        """
        try:
            answer = self._call("POST", "/v1/pair", document)
        except RelayAway as away:
            if isinstance(away.__cause__, _HUNG_UP):
                raise RelayAway("relay.already-paired") from away
            raise
        with _read():
            return _paired(answer)

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None, limit_s: float = ANSWER_S
    ) -> Mapping[str, Any]:
        more = {"timeout": {"connect": CONNECT_S, "read": limit_s, "write": limit_s, "pool": limit_s}}
        content = None if body is None else json.dumps(body).encode()
        headers = [("Host", self._authority)]  # httpcore's own has an IPv6 address without its brackets
        if body is not None:
            headers.append(("Content-Type", "application/json"))
        url = f"https://{self._authority}{path}"
        try:
            with self._http.stream(method, url, headers=headers, content=content, extensions=more) as answer:
                return _document(answer.status, _whole(answer))
        except _FAILED as error:
            raise RelayAway(_code_of(error)) from error


def certificate_at(host: str, port: int, fingerprint: str) -> str:
    """Give, as PEM, the certificate that a relay shows, if it is the one named; sends nothing but a TLS greeting.

    Raises:
        RelayAway: ``relay.unreachable``, or ``relay.wrong-certificate`` when it shows another.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # compared below; whoever talks to it afterwards pins it
    try:
        with socket.create_connection((host, port), timeout=CONNECT_S) as plain, context.wrap_socket(plain) as shown:
            der = shown.getpeercert(binary_form=True)
    except OSError as error:
        raise RelayAway("relay.unreachable") from error
    if der is None or fingerprint_of(der) != fingerprint:
        raise RelayAway("relay.wrong-certificate")
    return ssl.DER_cert_to_PEM_cert(der)


def _context(pinned: str, identity: ControlIdentity | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # the certificate itself is pinned
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
    context.load_verify_locations(cadata=pinned)
    if identity is not None:
        _load(context, identity)
    return context


def _load(context: ssl.SSLContext, identity: ControlIdentity) -> None:
    """Hand certificate and key to OpenSSL, which reads files only: through memory that no file system shows."""
    descriptor = os.memfd_create("doorward-control")
    try:
        os.write(descriptor, f"{identity.certificate}\n{identity.key}".encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _code_of(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "relay.wrong-certificate"
        cause = cause.__cause__ or cause.__context__
    return "relay.unreachable"


def _whole(answer: httpcore.Response) -> bytes:
    """Read an answer to its end; whoever says more than a relay has to say is hung up on."""
    said = bytearray()
    for piece in answer.iter_stream():
        said += piece
        if len(said) > MAX_ANSWER_BYTES:
            raise RelayAway("relay.unavailable")
    return bytes(said)


def _document(status: int, said: bytes) -> Mapping[str, Any]:
    try:
        document = fields.object_from_json(said)
    except Malformed as error:
        raise RelayAway("relay.unavailable") from error
    if 200 <= status < 300:
        return document
    code = document.get("code")
    raise RelayRefused(code[:60] if isinstance(code, str) else "relay.unavailable")


@contextmanager
def _read() -> Any:
    """Turn an answer that is not as the protocol says into the relay's fault."""
    try:
        yield
    except Malformed as error:
        raise RelayAway("relay.unavailable") from error


def _paired(answer: Mapping[str, Any]) -> Paired:
    ports = answer.get("ports")
    if not isinstance(ports, list) or len(ports) != 2:
        raise Malformed("ports", "two ports")
    span = {"low": ports[0], "high": ports[1]}
    return Paired(
        record_key=fields.text(answer, "record_key", longest=44),
        version=fields.text(answer, "version", longest=40),
        ssh_host_keys=fields.texts(answer, "ssh_host_keys", most=8),
        ssh_port=fields.integer(answer, "ssh_port", least=1, most=65_535),
        tunnel_user=fields.text(answer, "tunnel_user", longest=32),
        low_port=fields.integer(span, "low", least=1, most=65_535),
        high_port=fields.integer(span, "high", least=1, most=65_535),
        clock_at=fields.integer(answer, "clock_at"),
        kind=fields.text(answer, "kind", longest=20) if "kind" in answer else "managed",  # relays before 0.2 do not say
    )
