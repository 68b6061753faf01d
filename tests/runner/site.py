"""One installation of the runner as tests see it: reached as the agent reaches it, through sudo, by an ordinary user."""

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from doorward_protocol.ids import SessionId, id_from_bytes
from doorward_protocol.signature import SigningKey

from tests.parts.files import write_whole
from tests.parts.installed import cgroup_root, require
from tests.parts.ordinary import as_ordinary
from tests.parts.ports import free_port, is_listening
from tests.parts.processes import run
from tests.parts.sshd import make_ssh_key
from tests.protocol.cast import DEVICE, GRANT_KEY, NOW, PROJECT, Draft, open_body
from tests.runner.programs import RUNNER

BANNER: Final = "abcdefgh234567ab"


@dataclass(slots=True)
class Site:
    """A runner with its own folders, users and pins.

    Attributes:
        config: its configuration file, fixed in sudoers' line.
        is_rootless: runs as ``login_user``, who is the agent's user, too.
        terminals: how ``/dev/pts`` is mounted for a runner without root, as options of its own; "" leaves the machine's.
        key: the engineer's private key.
        revision: of the last order that was made.
        log: what the runner wrote to its log for each request; some of it goes to the system's where there is one.
    """

    folder: Path
    login_user: str
    agent_user: str
    closer: str
    door: str = "auto"
    is_rootless: bool = False
    terminals: str = ""
    signer: SigningKey = GRANT_KEY
    revision: int = 0
    sessions: list[SessionId] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "runner.toml"

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    @property
    def key(self) -> Path:
        return self.folder / "engineer"

    def configure(self, **changes: Any) -> None:
        """Write the configuration file."""
        values = {
            "state_dir": str(self.state_dir),
            "run_dir": str(self.run_dir),
            "login_user": self.login_user,
            "agent_user": self.agent_user,
            "longest_session_s": 86_400,
            "closer": self.closer,
            "door": self.door,
            "rootless": self.is_rootless,
        } | changes
        write_whole(self.config, "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))

    def settle(self) -> None:
        """Configure, make the engineer's key, and join."""
        self.configure()
        make_ssh_key(self.key)
        self.as_root("prepare")
        assert self.pin().returncode == 0

    def as_root(self, *words: str, stdin: bytes = b"") -> Any:
        """Run one of root's own commands, which are the ordinary user's own where that is the runner's."""
        return run([*self._caller, RUNNER, "--config", self.config, *words], stdin=stdin)

    @property
    def _caller(self) -> list[str]:
        if not self.is_rootless:
            return []
        own = f'mount -t devpts -o newinstance,ptmxmode=666,{self.terminals} devpts /dev/pts; exec "$@"'
        mounted = ["/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-ec", own, "sh"]
        return [*(mounted if self.terminals else []), *as_ordinary(self.login_user)]

    def pin(self, *words: str, **changes: Any) -> Any:
        """Pin the device and the project of the test vectors."""
        pins = {"device": DEVICE, "project": PROJECT, "grant_keys": [self.signer.public], "host_certificate": None}
        return self.as_root("pin", *words, stdin=json.dumps(pins | changes).encode())

    def certify_host_key(self, device: str) -> Path:
        """Have the door's host key certified and pinned, as at joining; gives a known_hosts file with the authority alone."""
        authority = self.folder / "host_ca"
        make_ssh_key(authority)
        public = write_whole(self.folder / "door.pub", self.as_root("prepare").stdout.decode().split('"')[3] + "\n")
        sign: list[str | Path] = [
            require("ssh").with_name("ssh-keygen"),
            "-q",
            "-s",
            authority,
            "-I",
            "door",
            "-h",
            "-n",
            device,
            public,
        ]
        made = run(sign)
        assert made.returncode == 0, made.stderr.decode()
        certificate = (self.folder / "door-cert.pub").read_text().strip()
        assert self.pin("--again", host_certificate=certificate).returncode == 0
        line = f"@cert-authority {device} {authority.with_suffix('.pub').read_text()}"
        return write_whole(self.folder / "known", line)

    def ask(self, request: Mapping[str, Any] | bytes) -> dict[str, Any]:
        """Hand a request to the runner as the agent does and give its answer."""
        line = request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n"
        if self.is_rootless:
            ran = self.as_root(stdin=line)
        else:
            ran = run([require("sudo"), "-n", RUNNER, "--config", self.config], stdin=line, user=self.agent_user)
        self.log.append(ran.stderr.decode(errors="replace"))
        assert ran.returncode == 0, ran.stderr.decode()
        answer: dict[str, Any] = json.loads(ran.stdout)
        return answer

    def nonces(self) -> list[str]:
        """Read the nonce file, as everyone may."""
        return (self.run_dir / "nonce").read_text().split()

    def new_session(self) -> SessionId:
        """Name a session that was not there before."""
        session = SessionId(id_from_bytes("s", time.time_ns().to_bytes(10, "big")))
        self.sessions.append(session)
        return session

    def body(self, session: SessionId, duration_s: float = 600, **changes: Any) -> dict[str, Any]:
        """Make the body of an order for this site; the device needs no clock, so the year is the vectors'."""
        login = {"user": self.login_user, "authorized_keys": [self.key.with_suffix(".pub").read_text().strip()]}
        ends_at = NOW + int(duration_s * 1000)
        whole_s = max(1, int(duration_s))
        return open_body(session=session, ends_at=ends_at, duration_s=whole_s, login=login, banner=BANNER) | changes

    def envelope(self, body: Mapping[str, Any] | str, *, revision: int | None = None, **message: Any) -> dict[str, Any]:
        """Sign an order that answers the newest nonce; the next revision unless one is given."""
        self.revision = self.revision + 1 if revision is None else revision
        fresh = {"epoch": 0, "revision": self.revision, "runner_nonce": self.nonces()[0]}
        draft = Draft(body, fresh | message, signer=self.signer)
        envelope: dict[str, Any] = json.loads(draft.raw())
        return envelope

    def order(self, envelope: Mapping[str, Any], port: int | None = None) -> dict[str, Any]:
        """Hand an order to the runner."""
        return self.ask({"verb": "order", "envelope": envelope, "port": port or free_port()})

    def open(self, duration_s: float = 600, **changes: Any) -> dict[str, Any]:
        """Open a new session's door and give the runner's answer."""
        self.ask({"verb": "status"})
        answer = self.order(self.envelope(self.body(self.new_session(), duration_s, **changes)))
        assert answer["ok"], answer
        return answer

    def ssh_options(self) -> list[str]:
        """Give what every OpenSSH client needs here; the host key is a matter of another test."""
        return [
            "-F", "none", "-i", str(self.key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
        ]  # fmt: skip

    def ssh(self, port: int, command: str, *options: str, first: Sequence[str] = ()) -> Any:
        """Run a command behind the door; of each option the first counts."""
        target = ["-p", str(port), f"{self.login_user}@127.0.0.1", command]
        return run([require("ssh"), *first, *self.ssh_options(), *options, *target])

    def leave_behind(self, port: int) -> set[int]:
        """Leave processes running as an engineer would who wants them to stay, and give their ids."""
        ran = self.ssh(
            port,
            "nohup sleep 600 >/dev/null 2>&1 & echo $!;"
            "setsid sh -c 'trap \"\" TERM HUP; sleep 600 >/dev/null 2>&1 & echo $$ $!; exec >/dev/null 2>&1; wait' &"
            "sleep 0.2",
        )
        assert ran.returncode == 0, ran.stderr.decode()
        pids = {int(word) for word in ran.stdout.split()}
        assert len(pids) == 3
        assert all(is_running(pid) for pid in pids)
        return pids

    def processes(self, name: str) -> list[int]:
        """Name the processes of this runner, and of what it started, whose command line has ``name``."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if name in line and str(self.config) in line:
                        found.append(int(entry.name))
        return found

    def end_timers(self) -> None:
        """Kill the timers that would put settings back in an hour: a shell that sleeps each, in a session of its own."""
        for pid in self.processes("revert"):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def ended(self) -> list[str]:
        """Read what was written down as ended."""
        path = self.state_dir / "ended"
        return path.read_text().split() if path.exists() else []

    def left_over(self) -> list[str]:
        """Name what a shut door must not leave: folders, control groups."""
        root = cgroup_root()
        groups = [] if root is None else [root / f"doorward-{session}" for session in self.sessions]
        return [str(path) for path in [*self.run_dir.glob("door-*"), *groups] if path.exists()]


def is_running(pid: int) -> bool:
    """Tell whether a process is there and not merely waiting to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def is_shut(site: Site, port: int, pids: set[int]) -> bool:
    """Tell whether nothing of a session is left: port, processes, files, groups."""
    return not is_listening(port) and not any(is_running(pid) for pid in pids) and not site.left_over()
