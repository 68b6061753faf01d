"""Folders for hooks and a process that runs them as the runner does: alone, of one thread, as root or as an ordinary user."""

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.parts.files import write_whole
from tests.parts.ordinary import as_ordinary
from tests.parts.processes import PLAIN_ENVIRONMENT, run
from tests.runner.programs import ROOT

FIRMWARE: Final = ROOT / "firmware-hooks"
BASE: Final = "d-abcdefghijklmnop.0-3"
NEXT: Final = "d-abcdefghijklmnop.0-4"
"""What was confirmed last, as the runner names it, before and after it has been confirmed once more."""
_DRIVER: Final = """
import fcntl, json, os, resource, sys
from pathlib import Path
from doorward_runner.edges import hooks
asked = json.load(sys.stdin)
folders = [Path(folder) for folder in asked["folders"]]
lock = os.open(asked["lock"], os.O_RDWR | os.O_CLOEXEC)
fcntl.flock(lock, fcntl.LOCK_EX)
answers = []
for _ in range(asked["times"]):
    ran = hooks.run(folders, asked["verb"], asked["document"], Path(asked["place"]), asked["limit_s"], os.geteuid())
    answers.append(ran._asdict())
own_kb = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
most_kb = max(own_kb, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
found = [one._asdict() for one in hooks.found(folders, owner=os.geteuid())]
print(json.dumps({"answers": answers, "most_kb": most_kb, "found": found}))
"""


@dataclass(frozen=True, slots=True)
class Bench:
    """A site's folder for hooks and ours, and the place of the runner whose user is ``user``.

    Attributes:
        before: what stands before the command: a mount namespace with a disk of its own.
    """

    top: Path
    user: str
    before: tuple[str, ...] = ()

    @property
    def site(self) -> Path:
        return self.top / "site"

    @property
    def ours(self) -> Path:
        return self.top / "ours"

    @property
    def place(self) -> Path:
        return self.top / "place"

    @property
    def state(self) -> Path:
        return self.place / "state"

    @property
    def lock(self) -> Path:
        return self.top / "lock"

    @property
    def uid(self) -> int:
        return pwd.getpwnam(self.user).pw_uid

    def settle(self) -> "Bench":
        """Make the folders, as the user's own."""
        for folder, mode in ((self.top, 0o755), (self.site, 0o755), (self.ours, 0o755), (self.place, 0o700)):
            folder.mkdir(mode=mode, exist_ok=True)
            shutil.chown(folder, self.user)
        shutil.chown(write_whole(self.lock, ""), self.user)
        return self

    def hook(self, verb: str, script: str | bytes, mode: int = 0o755, folder: Path | None = None) -> Path:
        """Write a hook, of the site's when not said otherwise."""
        raw = f"#!/bin/sh\n{script}\n".encode() if isinstance(script, str) else script
        path = write_whole((folder or self.site) / verb, raw, mode)
        shutil.chown(path, self.user)
        return path

    def command(self) -> list[str]:
        """Give the command that runs hooks; what it is to do comes on its standard input."""
        program = [sys.executable, "-c", _DRIVER]
        return [*self.before, *(program if self.user == own_user() else [*as_ordinary(self.user), *program])]

    def request(self, verb: str, document: Mapping[str, Any], limit_s: float, times: int = 1) -> bytes:
        """Give what the command reads."""
        folders = [str(self.site), str(self.ours)]
        asked = {
            "folders": folders,
            "verb": verb,
            "document": document,
            "place": str(self.place),
            "lock": str(self.lock),
        }
        return json.dumps({**asked, "limit_s": limit_s, "times": times}).encode()

    def report(
        self, verb: str, document: Mapping[str, Any] | None = None, limit_s: float = 20, times: int = 1
    ) -> Mapping[str, Any]:
        """Run the hook of ``verb``; gives ``answers``, ``most_kb`` of memory, and what is ``found`` for each verb."""
        ran = run(self.command(), stdin=self.request(verb, document or {}, limit_s, times), limit_s=55)
        assert ran.returncode == 0, ran.stderr.decode()
        found: Mapping[str, Any] = json.loads(ran.stdout)
        return found

    def run(self, verb: str, document: Mapping[str, Any] | None = None, limit_s: float = 20) -> Mapping[str, Any]:
        """Run the hook of ``verb`` once and give how it went."""
        (answer,) = self.report(verb, document, limit_s)["answers"]
        found: Mapping[str, Any] = answer
        return found

    def available(self) -> list[str]:
        """Give what this device can do; the verb that is run for it has no hook."""
        return [one["verb"] for one in self.report("nothing")["found"] if one["code"] is None]

    @contextmanager
    def running(self, verb: str, limit_s: float = 20) -> Iterator[subprocess.Popen[bytes]]:
        """Have the hook of ``verb`` run by a process that a test may kill."""
        process = subprocess.Popen(
            self.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(PLAIN_ENVIRONMENT)
        )
        assert process.stdin is not None
        with process:
            try:
                process.stdin.write(self.request(verb, {}, limit_s))
                process.stdin.close()
                yield process
            finally:
                process.kill()


def pid_from(path: Path) -> int:
    """Give the process id that a hook wrote to ``path``, 0 while there is none."""
    text = path.read_text() if path.exists() else ""
    return int(text) if text.endswith("\n") else 0


def own_user() -> str:
    """Name whoever runs the tests."""
    return pwd.getpwuid(os.geteuid()).pw_name


def told(verb: str, arguments: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Give a hook's document as the runner has it: the two that change settings are told what was confirmed last."""
    base = {"base": BASE} if verb in ("settings-apply", "settings-revert") else {}
    return {"verb": verb, "arguments": {**base, **(arguments or {})}}
