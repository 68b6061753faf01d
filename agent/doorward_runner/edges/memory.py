"""What the runner remembers in ``state_dir``: pins, the last promise, ended sessions, the door's host key.

Root's alone (0700). The promise is durable before it is acted on, an ended session before its processes are ended.
"""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

from doorward_protocol.digests import Digest
from doorward_protocol.ids import DeviceId, ProjectId, SessionId, is_id
from doorward_protocol.revisions import Revision

from doorward_runner.edges import files
from doorward_runner.promise import Promise

MOST_ENDED_BYTES: Final = 1_048_576
"""About fifty thousand sessions, years of them; past it, sessions that never were ours are no longer noted."""


class Pins(NamedTuple):
    """Who this device is and whose grant keys it obeys, as joining said."""

    device: DeviceId
    project: ProjectId
    grant_keys: tuple[str, ...]


class Memory(NamedTuple):
    """The files below ``folder``, which exists."""

    folder: Path

    @property
    def ended_file(self) -> Path:
        return self.folder / "ended"

    @property
    def host_key(self) -> Path:
        return self.folder / "door_host_key"

    @property
    def host_certificate(self) -> Path:
        """Where the host certificate is, beside its key as sshd expects it."""
        return self.folder / "door_host_key-cert.pub"

    @property
    def settings_key(self) -> Path:
        """Where the private key is to which secrets in settings are sealed."""
        return self.folder / "settings_key"

    @property
    def hooks(self) -> Path:
        """Name the folder in which hooks run and keep what is theirs; made when it is missing."""
        folder = self.folder / "hooks"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def pins(self) -> Pins | None:
        """Give what was pinned, None before joining."""
        source = self.document("pins.json")
        if source is None:
            return None
        return Pins(DeviceId(source["device"]), ProjectId(source["project"]), tuple(source["grant_keys"]))

    def pin(self, pins: Pins) -> None:
        """Pin; what was promised to another project or device is forgotten, what ended stays ended."""
        former = self.pins()
        if former is not None and (former.device, former.project) != (pins.device, pins.project):
            self.promise(Promise())
            for counted in ("command.json", "settings.json"):
                (self.folder / counted).unlink(missing_ok=True)
        self.keep("pins.json", {"device": pins.device, "project": pins.project, "grant_keys": pins.grant_keys})

    def promised(self) -> Promise:
        """Give the last promise; one that says nothing before the first."""
        source = self.document("promise.json")
        if source is None:
            return Promise()
        return Promise(
            Revision(source["epoch"], source["revision"]),
            None if source["digest"] is None else Digest(source["digest"]),
            None if source["session"] is None else SessionId(source["session"]),
            source["boot"],
            source["accepted_s"],
            source["ends_s"],
            source["console_ahead_ms"],
        )

    def promise(self, promise: Promise) -> None:
        """Write ``promise`` down, durably."""
        document = {
            "epoch": promise.revision.epoch,
            "revision": promise.revision.number,
            "digest": promise.digest,
            "session": promise.session,
            "boot": promise.boot,
            "accepted_s": promise.accepted_s,
            "ends_s": promise.ends_s,
            "console_ahead_ms": promise.console_ahead_ms,
        }
        self.keep("promise.json", document)

    def ended(self) -> frozenset[SessionId]:
        """Give every session that was written down as ended; a line torn by a loss of power is none."""
        lines = (files.read(self.ended_file) or "").split("\n")
        return frozenset(SessionId(line) for line in lines if is_id("s", line))

    def end(self, session: SessionId, *, is_ours: bool) -> None:
        """Write ``session`` down as ended, durably; strangers' only while there is room (``MOST_ENDED_BYTES``)."""
        has_room = is_ours or not self.ended_file.exists() or self.ended_file.stat().st_size < MOST_ENDED_BYTES
        if has_room and session not in self.ended():
            files.append(self.ended_file, f"\n{session}\n")

    def document(self, name: str) -> dict[str, Any] | None:
        """Read one of these files; None where it was never written."""
        text = files.read(self.folder / name)
        found: dict[str, Any] | None = None if text is None else json.loads(text)
        return found

    def keep(self, name: str, document: dict[str, Any]) -> None:
        """Write one of these files, durably."""
        files.write(self.folder / name, json.dumps(document) + "\n", mode=0o600, durable=True)
