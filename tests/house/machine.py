"""One machine of the house: namespaces with a host name, an /etc, /run, /home, /root and /var/lib of their own.

Inside, the programs use the paths and system users that they use in the field, and nothing of it touches the machine
that the tests run on. The machine's first process is all that holds it: when that ends, every process inside ends and
every folder is gone, which is also what a power cut looks like. The network
is the loopback of the host, or one of ``network``.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.parts.files import write_whole
from tests.parts.installed import cgroup_root
from tests.parts.processes import PLAIN_ENVIRONMENT, Program, Programs, run
from tests.parts.waiting import wait_until

CHECKOUT = Path(__file__).parents[2]
PROGRAMS = CHECKOUT / ".venv" / "bin"

_INIT = """
import ctypes, os, signal
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
while True:
    signal.sigwait({signal.SIGCHLD})
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
"""
"""The machine's first process: waits for orphans, as an init does."""

_PYTHON = f"{sys.base_prefix}/bin/python3"
_OWN_FOLDERS = ("etc", "home", "root", "run", "var/lib")
"""``var/lib`` last: the scratch folder itself may stand there."""


@dataclass(slots=True)
class Machine:
    """A machine that programs can be started on.

    Attributes:
        name: for logs.
        network: a process in whose network namespace the machine stands; 0 for the host's.
        folder: holds the machine's folders as seen from outside, and outlives a power cut but for ``run``.
        environment: what programs that are started on it find besides a plain PATH.
        at_boot: what its init runs at each boot, in this order.
    """

    name: str
    folder: Path
    programs: Programs
    network: int = field(default=0)
    holder: Program | None = field(default=None)
    init_pid: int = field(default=0)
    environment: dict[str, str] = field(default_factory=dict)
    at_boot: list[Sequence[str]] = field(default_factory=list)

    def prepare(self) -> None:
        """Lay out the machine's own folders once."""
        self.folder.mkdir(mode=0o711)
        shutil.copytree("/etc", self.folder / "etc", symlinks=True, ignore=_unreadable)
        for name in _OWN_FOLDERS[1:]:
            (self.folder / name).mkdir(parents=True, mode=0o755)

    def power_on(self) -> None:
        """Start the machine with an empty /run, as a boot does."""
        shutil.rmtree(self.folder / "run")
        (self.folder / "run").mkdir(mode=0o755)
        write_whole(self.folder / "boot_id", f"{uuid.uuid4()}\n", 0o444)
        self.holder = self.programs.start(
            *self._wired(), "/usr/bin/unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child",
            "--propagation", "private",
            "/bin/sh", "-ec", self._mounts(), name=f"{self.name}-init", is_holder=True,
        )  # fmt: skip
        self.init_pid = wait_until(self._find_init, 10, f"the first process of {self.name}")
        for command in self.at_boot:
            self.must(*command)

    def _mounts(self) -> str:
        """Write the first steps of the boot, in sh: own folders, with the tests' own interpreter left visible."""
        hidden = [path for path in (Path(sys.base_prefix), CHECKOUT) if _is_covered(path)]
        lines = [f"mount --bind {self.folder}/boot_id /proc/sys/kernel/random/boot_id"]
        lines += [f"mkdir -p {self._own(path)}; mount --bind {path} {self._own(path)}" for path in hidden]
        lines += [f"mount --rbind {self.folder}/{name} /{name}" for name in _OWN_FOLDERS]
        # sshd that is not the system's gives a terminal only where /dev/pts has the group tty.
        lines.append("mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 devpts /dev/pts")
        lines.append("mount --bind /dev/pts/ptmx /dev/ptmx")
        lines.append(
            "mount -t tmpfs -o mode=1777 tmpfs /dev/shm"
        )  # what is killed leaves its shared memory there (libfaketime)
        lines.append(f"exec {_PYTHON} -S -E -c '{_INIT}'")
        return "\n".join(lines)

    def _wired(self) -> list[str]:
        return ["/usr/bin/nsenter", f"--net=/proc/{self.network}/ns/net", "--"] if self.network else []

    def _own(self, path: Path) -> Path:
        return self.folder / path.relative_to("/")

    def _find_init(self) -> int:
        assert self.holder is not None
        assert self.holder.is_running, self.holder.log_text()
        pid = self.holder.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if not children:
            return 0
        found = int(children[0])
        # Before it, the shell that still lays out the folders has the same pid.
        is_there = Path(f"/proc/{found}/cmdline").read_bytes().startswith(f"{_PYTHON}\0".encode())
        return found if is_there else 0

    def inside(self, path: str) -> Path:
        """Give a path on the machine as seen from outside, with whatever is mounted there."""
        return Path(f"/proc/{self.init_pid}/root{path}")

    def cut_power(self) -> None:
        """End everything on the machine at once; what was on disk stays."""
        if self.holder is not None:
            os.kill(self.init_pid, signal.SIGKILL)
            self.holder.process.wait(10)
            self.holder = None
            self._forget_groups()

    def _forget_groups(self) -> None:
        """Take away the doors' control groups, as a kernel that starts anew has none; ours goes on."""
        sessions = {path.name[-18:] for path in (self.folder / "run").rglob("*s-????????????????") if path.is_dir()}
        root = cgroup_root()
        if root is None:
            return
        for session in sessions:
            for group in (root / f"doorward-{session}" / "door", root / f"doorward-{session}"):
                with suppress(OSError):  # gone, or a twin's
                    group.rmdir()

    def _inside(self, argv: Sequence[str | os.PathLike[str]], user: str | None, network: int = 0) -> list[str]:
        as_user = (
            ["/usr/bin/setpriv", f"--reuid={user}", f"--regid={self._group(user)}", "--init-groups"] if user else []
        )
        enter = ["/usr/bin/nsenter", f"--target={self.init_pid}", "--mount", "--uts", "--pid", "--wd=/"]
        enter.append(f"--net=/proc/{network}/ns/net" if network else "--net")
        # Behind whoever changes the user: libfaketime, once loaded by root, keeps what nobody else may open.
        more = (
            ["/usr/bin/env", *(f"{name}={value}" for name, value in self.environment.items())]
            if self.environment
            else []
        )
        return [*enter, "--", *as_user, *more, *(os.fspath(part) for part in argv)]

    def _group(self, user: str) -> str:
        """Give the id of a user's first group, which need not have the user's name; passwd(5)."""
        accounts = (line.split(":") for line in (self.folder / "etc/passwd").read_text().splitlines())
        return next(account[3] for account in accounts if account[0] == user)

    def run(
        self, *argv: str | os.PathLike[str], stdin: bytes = b"", user: str | None = None, limit_s: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program on the machine to its end; never raises for a status."""
        return run(self._inside(argv, user), stdin=stdin, limit_s=limit_s, env={**PLAIN_ENVIRONMENT, "HOME": "/root"})

    def must(self, *argv: str | os.PathLike[str], stdin: bytes = b"", user: str | None = None) -> str:
        """Run a program on the machine and give its output; a status other than 0 fails with all it said."""
        done = self.run(*argv, stdin=stdin, user=user)
        said = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == 0, f"{' '.join(map(str, argv))} on {self.name} ended with {done.returncode}:\n{said}"
        return done.stdout.decode()

    def start(
        self, *argv: str | os.PathLike[str], user: str | None = None, name: str | None = None, network: int = 0
    ) -> "Inside":
        """Start a program on the machine, with the network of the process ``network`` instead of the machine's own if given."""
        called = name or Path(argv[0]).name
        entered = self.programs.start(
            *self._inside(argv, user, network), name=f"{self.name}-{called}", env={**PLAIN_ENVIRONMENT, "HOME": "/root"}
        )
        return Inside(entered)


@dataclass(slots=True)
class Inside:
    """A program on a machine: ``entered`` waits for it outside, ``pid`` is itself, seen from outside."""

    entered: Program
    _pid: int = field(default=0)

    @property
    def pid(self) -> int:
        if not self._pid:
            outer = self.entered.pid
            children = Path(f"/proc/{outer}/task/{outer}/children")
            self._pid = int(wait_until(lambda: children.read_text().split(), 5, "the program inside")[0])
        return self._pid

    @property
    def is_running(self) -> bool:
        return self.entered.is_running

    def log_text(self) -> str:
        return self.entered.log_text()

    def kill(self) -> None:
        """End it with no chance to tidy up."""
        os.kill(self.pid, signal.SIGKILL)
        self.entered.process.wait(10)

    def end(self) -> int:
        """Ask it to end and give its status."""
        os.kill(self.pid, signal.SIGTERM)
        return self.entered.process.wait(20)


_PASSING = re.compile(r"(passwd|shadow|group|gshadow|subuid|subgid)\.\d+")


def _unreadable(folder: str, names: list[str]) -> set[str]:
    """Leave out what cannot be copied: sockets, and what somebody's useradd holds for a moment."""
    return {name for name in names if name.endswith((".lock", "-", "+")) or _PASSING.fullmatch(name)} | {
        name for name in names if not (Path(folder) / name).is_symlink() and not os.access(Path(folder) / name, os.R_OK)
    }


def shut_to_devices() -> str | None:
    """Say why the users of a device's programs could not run them from this checkout, and the cure; None when they can.

    What stands above it does not count where a machine covers that with its own folders.
    """
    inside = CHECKOUT / "agent" / "doorward_agent", PROGRAMS
    for path in (*_parents_on_machine(CHECKOUT), *_parents_on_machine(Path(sys.base_prefix)), *inside):
        if not path.stat().st_mode & stat.S_IXOTH:
            return f"needs a checkout that a device's own users may read, and {path} shuts them out: clone to a folder of mode 0755"
    return None


def _parents_on_machine(shown: Path) -> list[Path]:
    return [shown] if _is_covered(shown) else [*reversed(shown.parents), shown]


def _is_covered(path: Path) -> bool:
    return any(path.is_relative_to(f"/{name}") for name in _OWN_FOLDERS)
