"""What a relay refuses, as data: every kind of relay has to pass this one table.

A case says what a device shows (its certificate, its user, whom it believes to dial) and what it asks for. How a
certificate is made and how one dials is ``relaying``'s business. ``live`` is the device's own session, for whose port 0
of the relay's range there is a grant with bind ``*``; port 1 has a grant with bind ``localhost`` for the same device's
second session; port 2 belongs to another device's live session; port 3 to nobody.
"""

from dataclasses import dataclass
from typing import Final

from tests.relay.asking import AGENT, DISPLAY, TERMINAL, VARIABLE


@dataclass(frozen=True, slots=True)
class Shown:
    """What a device shows.

    Attributes:
        principals: words ``live``, ``local``, ``ended``, ``unknown`` stand for sessions; anything else for itself.
        valid_s: from and until, in seconds from now.
        ca: ``own`` for the tunnel CA that the relay pinned, ``other`` for one that it never saw.
        kind: ``user`` or ``host``.
        extensions: of the certificate.
        login: ``certificate``, ``plain`` (the bare key) or ``password``.
        user: whom to log in as; None for the tunnel user.
    """

    principals: tuple[str, ...] = ("live",)
    valid_s: tuple[int, int] = (-300, 3600)
    ca: str = "own"
    kind: str = "user"
    extensions: tuple[str, ...] = ("permit-port-forwarding",)
    login: str = "certificate"
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that must not work.

    Attributes:
        name: of the test.
        asks: arguments for ssh; ``{p0}`` to ``{p3}`` are ports of the relay's range, ``{secret}`` a port on the relay's
            loopback where something listens, ``{folder}`` a folder of the device's.
        shown: what the device shows.
        login: whether it may come so far as to be logged in.
        says: what OpenSSH writes into the relay's log about it, where it does: the fault itself, and not another one.
    """

    name: str
    asks: tuple[str, ...]
    shown: Shown = Shown()
    login: bool = False
    says: str = ""


EVERY_EXTENSION: Final = (
    "permit-pty", "permit-port-forwarding", "permit-agent-forwarding", "permit-X11-forwarding", "permit-user-rc",
)  # fmt: skip
"""What a certificate may allow at all; the signer's have one of these. With all of them it is the relay alone that refuses."""

_FORWARD: Final = ("-R", "*:{p0}:127.0.0.1:9", "hello")
"""Whoever is let in gets the forward and an answer, and ssh ends: a test that fails says so at once."""

NOT_ADMITTED: Final = (
    Case("expired-certificate", _FORWARD, Shown(valid_s=(-7200, -3600)), says="Certificate invalid: expired"),
    Case("certificate-of-tomorrow", _FORWARD, Shown(valid_s=(3600, 7200)), says="Certificate invalid: not yet valid"),
    Case(
        "certificate-without-principals",
        _FORWARD,
        Shown(principals=()),
        says="Certificate does not contain an authorized principal",
    ),
    Case("certificate-of-another-ca", _FORWARD, Shown(ca="other")),
    Case("certificate-for-root-as-tunnel-user", _FORWARD, Shown(principals=("root",))),
    Case("certificate-for-root-as-root", ("id",), Shown(principals=("root",), user="root")),
    Case("certificate-for-tunnel-user-name", _FORWARD, Shown(principals=("doorward-tunnel",))),
    Case("certificate-of-an-ended-session", _FORWARD, Shown(principals=("ended",))),
    Case("certificate-of-a-session-never-granted", _FORWARD, Shown(principals=("unknown",))),
    Case("certificate-as-root", ("id",), Shown(user="root")),
    Case("certificate-as-another-user", ("id",), Shown(user="nobody")),
    Case("plain-key", _FORWARD, Shown(login="plain")),
    Case("password", _FORWARD, Shown(login="password")),
)
"""Refused before anything can be asked for."""

NOT_GRANTED: Final = (
    Case("another-sessions-port", ("-N", "-R", "*:{p2}:127.0.0.1:9"), login=True),
    Case("a-port-nobody-has", ("-N", "-R", "*:{p3}:127.0.0.1:9"), login=True),
    Case("any-port", ("-N", "-R", "*:0:127.0.0.1:9"), login=True),
    Case("its-other-sessions-port", ("-N", "-R", "localhost:{p1}:127.0.0.1:9"), login=True),
    Case("wildcard-where-loopback-is-granted", ("-N", "-R", "*:{p1}:127.0.0.1:9"), Shown(("local",)), login=True),
    Case(
        "v4-wildcard-where-loopback-is-granted", ("-N", "-R", "0.0.0.0:{p1}:127.0.0.1:9"), Shown(("local",)), login=True
    ),
    Case("another-loopback-address", ("-N", "-R", "127.0.0.2:{p1}:127.0.0.1:9"), Shown(("local",)), login=True),
    Case("forward-without-permission-in-the-certificate", ("-N", *_FORWARD[:2]), Shown(extensions=()), login=True),
    Case("stdio-forward", ("-W", "127.0.0.1:{secret}"), login=True),
    Case("stdio-forward-to-localhost", ("-W", "localhost:{secret}"), login=True),
    Case("remote-dynamic-forward", ("-N", "-R", "{p3}"), login=True),
    Case("remote-unix-forward", ("-N", "-R", "{folder}/r.sock:127.0.0.1:9"), login=True),
    Case("sftp", ("-s", "sftp"), login=True),
)
"""Logged in, and refused what it asks for: ssh ends with an error."""

NOT_RUN: Final = (
    Case("shell", (), login=True),
    Case("exec", ("id; cat /etc/passwd",), login=True),
    Case("exec-with-every-extension", ("id",), Shown(extensions=EVERY_EXTENSION), login=True),
)  # fmt: skip
"""Whatever it wants to run, hello runs instead: one JSON line and nothing of what was asked."""

NOT_GIVEN: Final = (AGENT, DISPLAY, TERMINAL, VARIABLE)
"""Asked for on a session's channel, and answered no."""

NO_DEVICE: Final = {"Server has rejected tunnel device forwarding", "TUN/TAP request refused"}
"""What OpenSSH and asyncssh say to whoever asks for a tun device: that it is refused, and not that it could not be made."""

HOST_CERTIFICATE: Final = Case(
    "host-certificate", (), Shown(kind="host"), says="Certificate invalid: not a user certificate"
)
"""Not admitted either; OpenSSH's client does not even show such a certificate, so it takes another client to try it."""

ONLY_WITH_GRANTS: Final = frozenset({
    "certificate-of-an-ended-session", "certificate-of-a-session-never-granted",
    "wildcard-where-loopback-is-granted", "v4-wildcard-where-loopback-is-granted", "another-loopback-address",
})  # fmt: skip
"""What a plain relay cannot refuse: its one line knows the project and its ports, no sessions and no addresses."""

THROUGH_A_CONNECTION: Final = (
    Case("local-forward", ("-L", "127.0.0.1:{local}:127.0.0.1:{secret}"), login=True),
    Case("dynamic-forward", ("-D", "127.0.0.1:{local}"), login=True),
    Case("local-unix-forward", ("-L", "127.0.0.1:{local}:{socket}"), login=True),
)
"""The client listens on its own side; what is refused is the way through the relay. ``{local}`` is the client's port,
``{socket}`` a unix socket on the relay where something listens."""
