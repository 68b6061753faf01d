"""How PostgreSQL tells who listens that somebody rang (LISTEN and NOTIFY): a connection that does nothing else.

A room of its own, for loading PostgreSQL's client takes a tenth of a process's start that SQLite does not need.
"""

import psycopg
from django.db import connections


class Notifications:
    """Listens on a channel; the connection is made again when it breaks.

    Whatever it is asked may raise ConnectionError: the database is away.
    """

    def __init__(self, channel: str) -> None:
        """Listen on ``channel``, one of our own fixed words."""
        self._channel = channel
        self._connection = self._listen()

    def _listen(self) -> "psycopg.Connection[tuple[object, ...]]":
        place = connections["default"].settings_dict
        try:
            made = psycopg.connect(
                dbname=place["NAME"],
                user=place["USER"] or None,
                host=place["HOST"] or None,
                port=place["PORT"] or None,
                autocommit=True,
            )
            made.execute(f"LISTEN {self._channel}")
        except psycopg.OperationalError as error:
            raise ConnectionError(str(error)) from error
        return made

    def fileno(self) -> int:
        """Give the descriptor that becomes readable when somebody rings."""
        if self._connection.closed:  # a database that was away when it was last heard may be back
            self._connection = self._listen()
        return self._connection.fileno()

    def heard(self) -> bool:
        """Take in what has been rung, without waiting; tell whether anything was."""
        try:
            self._connection.pgconn.consume_input()
        except psycopg.OperationalError:
            self._connection.close()
            self._connection = self._listen()
            return True  # whatever was rung in between was not heard: look
        rung = False
        while self._connection.pgconn.notifies() is not None:
            rung = True
        return rung

    def close(self) -> None:
        """Stop listening."""
        self._connection.close()
