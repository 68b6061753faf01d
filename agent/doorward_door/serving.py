"""What a client that is logged in may ask for: sessions, a few at a time, each a shell, a command or sftp. Nothing else.

No forward of any kind, no agent, no X11: paramiko's own answer to what is not overridden here is no.
"""

from collections.abc import Mapping
from typing import Any, Final

from paramiko import Channel, PKey, ServerInterface
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_FAILED_RESOURCE_SHORTAGE,
    OPEN_SUCCEEDED,
)

from doorward_door.admitting import is_admitted
from doorward_door.files import serve_files
from doorward_door.processes import Leftovers, Process
from doorward_door.settings import DoorSettings
from doorward_door.terminal import Terminal, WindowSize
from doorward_door.transport import DoorTransport

MOST_CHANNELS: Final = 10
"""sshd's MaxSessions; each may hold a window of memory, a process and three threads."""
MOST_VARIABLES: Final = 16
_LONGEST_VALUE: Final = 256


class DoorServer(ServerInterface):
    """Answers one client's requests, in its connection's thread."""

    def __init__(self, settings: DoorSettings, transport: DoorTransport, leftovers: Leftovers) -> None:
        self._settings = settings
        self._transport = transport
        self._leftovers = leftovers
        self._processes: dict[int, Process] = {}

    def get_allowed_auths(self, username: str) -> str:
        del username
        return "publickey"

    def check_auth_publickey(self, username: str, key: PKey) -> int:
        return AUTH_SUCCESSFUL if is_admitted(self._settings, username, key) else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        del chanid
        if kind != "session":
            return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        if len(self._transport.live) >= MOST_CHANNELS or self._leftovers.are_many:
            return OPEN_FAILED_RESOURCE_SHORTAGE
        self._processes = {live: self._processes[live] for live in self._transport.live if live in self._processes}
        return OPEN_SUCCEEDED

    def check_channel_env_request(self, channel: Channel, name: bytes, value: bytes) -> bool:
        process = self._process(channel)
        is_wanted = name == b"LANG" or name.startswith(b"LC_")
        if not is_wanted or max(len(name), len(value)) > _LONGEST_VALUE or len(process.variables) >= MOST_VARIABLES:
            return False
        process.variables[name.decode(errors="replace")] = value.decode(errors="replace")
        return True

    def check_channel_pty_request(
        self,
        channel: Channel,
        term: bytes,
        width: int,
        height: int,
        pixelwidth: int,
        pixelheight: int,
        _modes: bytes,
    ) -> bool:
        process = self._process(channel)
        if process.is_started or process.terminal is not None:
            return False
        size = WindowSize(width, height, pixelwidth, pixelheight)
        process.terminal = Terminal(term[:64].decode(errors="replace").replace("\0", ""), size)
        return True

    def check_channel_window_change_request(
        self, channel: Channel, width: int, height: int, pixelwidth: int, pixelheight: int
    ) -> bool:
        terminal = self._process(channel).terminal
        return terminal is not None and terminal.resize(WindowSize(width, height, pixelwidth, pixelheight))

    def check_channel_shell_request(self, channel: Channel) -> bool:
        return self._process(channel).start(None)

    def check_channel_exec_request(self, channel: Channel, command: bytes) -> bool:
        return self._process(channel).start(command)

    def check_channel_subsystem_request(self, channel: Channel, name: str) -> bool:
        return name == "sftp" and self._process(channel).take_for_sftp() and serve_files(channel, self)

    def let_flow(self, channel: Channel) -> None:
        """Let what a request started be heard, now that the request has been answered."""
        process = self._processes.get(channel.chanid)
        if process is not None:
            process.let_flow()

    def _process(self, channel: Channel) -> Process:
        found = self._processes.get(channel.chanid)
        if found is None:
            found = Process(channel, self._surroundings(), self._leftovers)
            self._processes[channel.chanid] = found
        return found

    def _surroundings(self) -> Mapping[str, Any]:
        peer = self._transport.getpeername()
        connection = f"{peer[0]} {peer[1]} 127.0.0.1 {self._settings.port}"
        # The mark by which the runner finds what a killed subreaper left, as with the private sshd.
        return {"DOORWARD_DOOR": str(self._settings.folder), "SSH_CONNECTION": connection}
