"""The listener: one socket on 127.0.0.1, and one thread that admits connections, and ends those that take too long.

Whoever has not proved a key is a stranger: few at a time, 20 s each. All come from 127.0.0.1 (probes, engineers, strangers), so
there is no limit by source.
"""

import select
import socket
import threading
import time
from typing import Final

from paramiko import Ed25519Key

from doorward_door.processes import Leftovers
from doorward_door.serving import DoorServer
from doorward_door.settings import DoorSettings
from doorward_door.transport import DEAD_AFTER_S, DoorTransport

LOGIN_GRACE_S: Final = 20.0
"""As the private sshd: a slow link needs ten."""
MOST_STRANGERS: Final = 16
"""Each costs a thread and, in the key exchange, 2 ms of a small device's CPU; a few hundred would keep engineers out."""
ENOUGH_S: Final = 10.0
"""In which one has logged in over a slow link. Whoever has had them makes room when all places of strangers are taken: a
scanner that connects and waits would keep engineers and probes out of a public port for as long as it likes."""
MUTE_ENOUGH_S: Final = 3.0
"""The same for whoever has not even said which version he speaks: every client does so at once."""
MOST_CONNECTIONS: Final = 48
_QUEUE: Final = 128
"""Who comes while there is no room waits here, first come, first served: a place that goes to whoever asks just then goes to
the scanner, who asks a thousand times a second, and not to the engineer, who asks once."""
_LOOK_EVERY_S: Final = 1.0
_ROOM_EVERY_S: Final = 0.1


class Listener:
    """Serves until the session's end."""

    def __init__(self, settings: DoorSettings, keys: tuple[Ed25519Key, ...]) -> None:
        self._settings = settings
        self._keys = keys
        self._leftovers = Leftovers()
        self._connections: list[DoorTransport] = []

    def serve(self) -> None:
        """Listen; returns when the end that the folder names is reached."""
        with socket.create_server(("127.0.0.1", self._settings.port), backlog=_QUEUE) as listening:
            listening.setblocking(False)
            while not self._settings.is_end_reached():
                if select.select([listening], [], [], _LOOK_EVERY_S)[0]:
                    self._admit(listening) if self._has_room() else time.sleep(_ROOM_EVERY_S)
                self._look_around()

    def _admit(self, listening: socket.socket) -> None:
        try:
            stream, _ = listening.accept()
        except OSError:  # gone again, or no descriptor left: the next one may have better luck
            return
        if len(self._connections) >= MOST_CONNECTIONS:
            stream.close()
            return
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = DoorTransport(stream, self._keys, self._settings.banner)
        server = DoorServer(self._settings, connection, self._leftovers)
        self._connections.append(connection)
        connection.serve(server, server.let_flow, threading.Event())

    def _has_room(self) -> bool:
        """Tell whether one more stranger may come; one who had time enough leaves for him."""
        strangers = [connection for connection in self._connections if not connection.is_authenticated()]
        if len(strangers) < MOST_STRANGERS:
            return True
        done = [one for one in strangers if one.age_s >= (ENOUGH_S if one.has_spoken else MUTE_ENOUGH_S)]
        if done:
            oldest = max(done, key=lambda connection: connection.age_s)
            self._connections.remove(oldest)
            oldest.hang_up()
        return bool(done)

    def _look_around(self) -> None:
        """Forget who is gone, hang up on whoever takes too long or is dead, and reap what has ended."""
        self._connections = [connection for connection in self._connections if connection.is_alive()]
        for connection in self._connections:
            is_late = not connection.is_authenticated() and connection.age_s > LOGIN_GRACE_S
            if is_late or connection.silent_s > DEAD_AFTER_S:
                connection.hang_up()
        self._leftovers.reap()
