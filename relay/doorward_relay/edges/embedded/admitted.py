"""Who may log in to the embedded relay: what the principals file says to sshd, asked by asyncssh at each log-in.

asyncssh accepts a certificate without principals for every user name, so principals are compared here and nowhere else.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import asyncssh
from doorward_protocol.grants import Grant
from doorward_protocol.ids import SessionId

SESSION: Final = "doorward-session"
"""The option under which a connection's session is remembered; no option of ssh's is called so."""


class Admitted(asyncssh.SSHAuthorizedKeys):
    """The table: one CA, and the sessions that are live."""

    def __init__(self, clock: Callable[[], int]) -> None:
        """Nobody is admitted yet; ``clock`` gives ms."""
        super().__init__()
        self._clock = clock
        self._ca: asyncssh.SSHKey | None = None
        self._grants: dict[str, Grant] = {}

    def admit(self, grants: Iterable[Grant]) -> None:
        """Admit these grants' devices and nobody else."""
        self._grants = {grant.session: grant for grant in grants}

    def trust(self, tunnel_ca: str | None) -> None:
        """Accept certificates of this CA, or of none."""
        self._ca = None if tunnel_ca is None else asyncssh.import_public_key(tunnel_ca)

    def grant_of(self, session: SessionId) -> Grant | None:
        """Give the grant of a session that is live at this moment."""
        grant = self._grants.get(session)
        return grant if grant is not None and self._clock() < grant.ends_at else None

    def validate(
        self,
        key: asyncssh.SSHKey,
        client_host: str,  # noqa: ARG002 - asyncssh's own signature
        client_addr: str,  # noqa: ARG002
        cert_principals: Sequence[str] | None = None,
        ca: bool = False,  # noqa: FBT001, FBT002 - asyncssh's own signature
    ) -> Mapping[str, object] | None:
        """Answer asyncssh, which has checked nothing yet and then checks kind, dates and signature.

        A session counts among the certificate's principals only; ``principals`` in the answer keeps asyncssh from
        asking for the user's name there.
        """
        if not ca or self._ca is None or key != self._ca:
            return None
        live = (one for one in cert_principals or () if self.grant_of(SessionId(one)) is not None)
        session = next(live, None)
        return None if session is None else {"principals": [session], SESSION: session}
