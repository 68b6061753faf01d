"""The relay's memory in SQLite: ledger, pairing, chain of records. Decides nothing.

A disk that is full or broken shows as ``StoreUnavailable``, and nothing of the transaction is kept then. A full disk has
no room even for SQLite's shared index; then the file is opened for this process alone, whose memory holds the index.
One file, one writer (the daemon; ``install`` writes while pairing anew). Every call is one transaction and durable when it
returns: what was answered to the console stays answered after a power cut.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from doorward_protocol.asked import Asked
from doorward_protocol.digests import Digest
from doorward_protocol.grants import Grant, GrantedForward
from doorward_protocol.ids import DeviceId, ProjectId, RelayId, SessionId
from doorward_protocol.records import Head, document_from_head, head_from_document
from doorward_protocol.revisions import Revision

from doorward_relay.contracts import StoreUnavailable
from doorward_relay.effects import Live
from doorward_relay.ledger import Ledger
from doorward_relay.pairing import PairingOffer, Pinned

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS live (session TEXT PRIMARY KEY, grant_json TEXT NOT NULL, digest TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS ended (session TEXT PRIMARY KEY, at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS record (
  author TEXT NOT NULL, n INTEGER NOT NULL, digest TEXT NOT NULL, at INTEGER NOT NULL, envelope BLOB NOT NULL,
  PRIMARY KEY (author, n));
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_FACTS: Final = ("sequence", "offer", "pinned", "heads", "receipted", "reconciled")
"""Single values, as JSON."""
_LOCKED_S: Final = 2
"""Another process (``install``) writes for milliseconds; meanwhile nothing is closed."""


class Store:
    """An open database."""

    def __init__(self, path: Path) -> None:
        """Open the database, making it (mode 0600) where there is none."""
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._is_alone = False
        self._connection()

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def share(self) -> None:
        """Let others read beside us again, where the file had to be opened for this process alone."""
        if self._is_alone:
            self.close()

    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            try:
                self._database, self._is_alone = _opened(self._path, is_alone=False), False
            except StoreUnavailable:
                self._database, self._is_alone = _opened(self._path, is_alone=True), True
        return self._database

    # The ledger

    def ledger(self) -> Ledger:
        """Read the ledger."""
        live = {SessionId(name): _live(text, digest) for name, text, digest in self._rows("SELECT * FROM live")}
        ended = {SessionId(name): int(at) for name, at in self._rows("SELECT * FROM ended")}
        sequence = self._fact("sequence")
        return Ledger(Revision(*sequence) if sequence else Revision(0, 0), live, ended)

    def keep_grant(self, live: Live) -> None:
        """Write down a live grant in place of the session's former one."""
        row = (live.grant.session, json.dumps({**asdict(live.grant), "asked": live.grant.asked._asdict()}), live.digest)
        self._rows("INSERT OR REPLACE INTO live VALUES (?, ?, ?)", row)

    def keep_end(self, session: str, at: int) -> None:
        """Write down a session as ended and no longer live."""
        with self.together():
            self._rows("DELETE FROM live WHERE session = ?", (session,))
            self._rows("INSERT OR REPLACE INTO ended VALUES (?, ?)", (session, at))

    def keep_sequence(self, sequence: Revision) -> None:
        """Write down the highest sequence seen."""
        self._keep("sequence", list(sequence))

    def forget_ended(self, before: int) -> None:
        """Drop sessions that ended before a time (ms)."""
        self._rows("DELETE FROM ended WHERE at <= ?", (before,))

    def keep_reconciled(self, at: int) -> None:
        """Write down when the console last compared its list (ms)."""
        self._keep("reconciled", at)

    def reconciled(self) -> int | None:
        """Give when the console last compared its list (ms)."""
        found = self._fact("reconciled")
        return None if found is None else int(found)

    # Pairing

    def offer(self) -> PairingOffer | None:
        """Give the open pairing offer."""
        found = self._fact("offer")
        return None if found is None else PairingOffer(**found)

    def keep_offer(self, offer: PairingOffer | None) -> None:
        """Write down the offer, or that there is none."""
        self._keep("offer", None if offer is None else asdict(offer))

    def pinned(self) -> Pinned | None:
        """Give what was pinned at pairing, or None while unpaired."""
        found = self._fact("pinned")
        return None if found is None else Pinned(**found)

    def keep_pinned(self, pinned: Pinned) -> None:
        """Pin a console; the offer is used up in the same transaction."""
        with self.together():
            self._keep("pinned", asdict(pinned))
            self._keep("offer", None)

    def unpin(self, offer: PairingOffer) -> None:
        """Open a new offer and forget the console; what was granted is ended by the daemon, which reads this."""
        with self.together():
            self._keep("pinned", None)
            self._keep("offer", asdict(offer))

    # Records

    def head(self, author: str) -> Head:
        """Give the head of the chain of ``author``."""
        rows = self._rows("SELECT n, digest FROM record WHERE author = ? ORDER BY n DESC LIMIT 1", (author,))
        return Head(0, int(rows[0][0]), Digest(rows[0][1])) if rows else Head()

    def append(self, author: str, head: Head, at: int, envelope: bytes) -> None:
        """Add the record that makes ``head`` the head; raises sqlite3.IntegrityError when there is one already."""
        row = (author, head.n, head.digest, at, envelope)
        self._rows("INSERT INTO record VALUES (?, ?, ?, ?, ?)", row)

    def records_after(self, author: str, n: int, *, most: int) -> tuple[bytes, ...]:
        """Give envelopes in their order."""
        query = "SELECT envelope FROM record WHERE author = ? AND n > ? ORDER BY n LIMIT ?"
        return tuple(row[0] for row in self._rows(query, (author, n, most)))

    def digest_of_record(self, author: str, n: int) -> str | None:
        """Give the digest of one record, or None where it is not kept (any more)."""
        rows = self._rows("SELECT digest FROM record WHERE author = ? AND n = ?", (author, n))
        return str(rows[0][0]) if rows else None

    def heads(self) -> dict[str, Head]:
        """Give the heads of other chains as receipts named them."""
        return {name: head_from_document(one) for name, one in (self._fact("heads") or {}).items()}

    def keep_receipt(self, author: str, upto: int, heads: dict[str, Head]) -> None:
        """Write down how far the console has stored our records, and its heads."""
        with self.together():
            self._keep("receipted", {"author": author, "upto": upto})
            self._keep("heads", {name: document_from_head(head) for name, head in heads.items()})

    def drop_receipted(self, author: str, before: int) -> None:
        """Drop records that were receipted and are older than a time (ms); the head stays."""
        receipted = self._fact("receipted") or {}
        if receipted.get("author") != author:
            return
        upto = min(int(receipted["upto"]), self.head(author).n - 1)
        self._rows("DELETE FROM record WHERE author = ? AND n <= ? AND at < ?", (author, upto, before))

    def _fact(self, name: str) -> Any:
        rows = self._rows("SELECT value FROM fact WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else None

    def _keep(self, name: str, value: object) -> None:
        if name not in _FACTS:
            raise ValueError(f"no fact is called {name}")
        self._rows("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, json.dumps(value)))

    def _rows(self, query: str, values: Iterable[Any] = ()) -> list[Any]:
        with _translated():
            return self._connection().execute(query, tuple(values)).fetchall()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make all that is kept inside durable at once, or none of it when something is raised; may be nested."""
        if self._connection().in_transaction:
            yield
            return
        self._rows("BEGIN IMMEDIATE")
        try:
            yield
            self._rows("COMMIT")
        except BaseException:
            if self._connection().in_transaction:  # a full disk makes SQLite roll back by itself
                self._rows("ROLLBACK")
            raise


def _opened(path: Path, *, is_alone: bool) -> sqlite3.Connection:
    """Open the database; alone, it needs no shared index (sqlite.org/wal.html, section 8)."""
    with _translated():
        database = sqlite3.connect(path, isolation_level=None, timeout=_LOCKED_S)
        try:
            if is_alone:
                database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA journal_mode = WAL")  # one flush to disk a commit instead of three
            database.execute("PRAGMA synchronous = FULL")
            database.executescript(_SCHEMA)
        except BaseException:
            database.close()
            raise
    return database


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what the world does to SQLite into StoreUnavailable; our own mistakes pass."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.DatabaseError as error:
        raise StoreUnavailable(str(error)) from error


def _live(text: str, digest: str) -> Live:
    source = json.loads(text)
    grant = Grant(
        project=ProjectId(source["project"]),
        relay=RelayId(source["relay"]),
        sequence=Revision(*source["sequence"]),
        session=SessionId(source["session"]),
        device=DeviceId(source["device"]),
        issued_at=source["issued_at"],
        ends_at=source["ends_at"],
        forwards=tuple(GrantedForward(**one) for one in source["forwards"]),
        banner=source["banner"],
        asked=Asked(**source["asked"]),
    )
    return Live(grant, digest)
