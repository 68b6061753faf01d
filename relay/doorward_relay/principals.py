"""Write the lines by which sshd admits a tunnel: one for each live grant, and nothing besides.

The file is the relay's whole permission, read by sshd at each log-in, and it closes by itself: every line ends at its
grant's end even if nobody of ours is alive to take it away, and it lies in the run folder, so that after a reboot
nobody is admitted before the daemon has looked. Source: sshd(8), AUTHORIZED_KEYS FILE FORMAT;
sshd_config(5), AuthorizedPrincipalsFile. Called by ``runtime``.

Why each option is there: ``restrict`` takes everything away; ``port-forwarding`` gives forwards back, of which
``permitlisten`` leaves the session's own ports and the dead ``permitopen`` no connection at all (``none`` there would
make every log-in fail); a rehearsal's grant, which has no forward, gets a dead ``permitlisten``, for without any every port may
be listened on; ``command`` replaces whatever the client wants to run; ``expiry-time`` is in UTC by its Z.
"""

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Final

from doorward_protocol.grants import Grant, GrantedForward

NOWHERE: Final = "127.0.0.1:1"
"""Where a tunnel may connect to on the relay: tcpmux, which nobody runs."""

LISTENS_NOWHERE: Final = "rehearsal.invalid:1"
"""What a rehearsal may listen on: an address that never resolves (RFC 6761, section 6.4), and a port below 1024."""


def principals_text(grants: Iterable[Grant], hello: str) -> str:
    """Give the file's text; ``hello`` is the command that a line's session id is added to."""
    return "".join(f"{principals_line(grant, hello)}\n" for grant in grants)


def principals_line(grant: Grant, hello: str) -> str:
    """Give the one line that admits the device of ``grant``."""
    options = [
        "restrict",
        "port-forwarding",
        *(f'permitlisten="{place}"' for place in _places(grant)),
        f'permitopen="{NOWHERE}"',
        f'command="{hello} {grant.session}"',
        f'expiry-time="{_last_second(grant.ends_at)}"',
    ]
    return f"{','.join(options)} {grant.session}"


def admits_more(standing: str, wanted: str) -> bool:
    """Tell whether the text that stands has a line, so admits a session, that the wanted one has not."""
    return not set(standing.splitlines()) <= set(wanted.splitlines())


def _places(grant: Grant) -> tuple[str, ...]:
    """Name where the device may listen: never nothing, which sshd takes for everything."""
    return tuple(_listen(forward) for forward in grant.forwards) or (LISTENS_NOWHERE,)


def _listen(forward: GrantedForward) -> str:
    return f"{forward.bind}:{forward.port}"


def _last_second(at: int) -> str:
    """Write the last whole second before a time (ms): sshd still admits during the second that it is told."""
    return datetime.fromtimestamp(at // 1000 - 1, tz=timezone.utc).strftime("%Y%m%d%H%M%SZ")
