"""The console, as a device that joins sees it: one POST over TLS whose certificate is known by its fingerprint.

No CA and no name is trusted, and no clock: the certificate's digest is compared on this very connection before a byte of
the request is sent.
"""

import http.client
import json
import ssl
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from doorward_protocol.fields import Malformed, object_from_json
from doorward_protocol.joining import JoinLine, fingerprint_of

from doorward_agent.errors import JoinFailed

LIMIT_S: Final = 30.0
"""Signing is the slowest step: the console's signer is woken for it."""
MAX_ANSWER_BYTES: Final = 262_144


def post_join(line: JoinLine, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Send a join request and give the console's answer.

    Raises:
        JoinFailed: no address, unreachable, another certificate than the line names, or a no.
    """
    try:
        address = urlsplit(line.address)
        with closing(_connection(address)) as connection:
            connection.connect()
            _check_certificate(connection, line.fingerprint)
            body = json.dumps({**request, "token": line.token})
            connection.request("POST", f"{address.path}/api/join", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return _answer(response.status, response.read(MAX_ANSWER_BYTES))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise JoinFailed("join.unreachable", f"{type(error).__name__}: {error}.") from None


def _connection(address: SplitResult) -> http.client.HTTPSConnection:
    """Prepare the connection; raises ValueError where the port is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the fingerprint says more than any name
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(address.hostname or "", address.port or 443, timeout=LIMIT_S, context=context)


def _check_certificate(connection: http.client.HTTPSConnection, fingerprint: str) -> None:
    shown = connection.sock.getpeercert(binary_form=True) if isinstance(connection.sock, ssl.SSLSocket) else None
    if shown is None or fingerprint_of(shown) != fingerprint:
        raise JoinFailed("join.wrong-certificate")


def _answer(status: int, raw: bytes) -> Mapping[str, Any]:
    try:
        answer = object_from_json(raw)
    except Malformed:
        raise JoinFailed("join.refused", f"The console answered with status {status} and no JSON object.") from None
    if status >= 400:
        code = answer.get("code")
        raise JoinFailed(code if isinstance(code, str) and code.startswith("join.") else "join.refused")
    return answer
