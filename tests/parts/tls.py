"""TLS connections of the tests' own process."""

import ssl


class _ClosedWhenRefused(ssl.SSLSocket):
    """Closes itself where its handshake fails.

    paho leaves that to whoever clears the memory away: a client that dials again while a broker goes would be a
    ResourceWarning, and that fails whichever test runs just then.
    """

    def do_handshake(self, *args: bool, **named: bool) -> None:
        try:
            super().do_handshake(*args, **named)
        except OSError:
            self.close()
            raise


def close_failed_handshakes() -> None:
    """Let every connection of this process, whoever makes it, be closed where its handshake fails."""
    ssl.SSLContext.sslsocket_class = _ClosedWhenRefused
