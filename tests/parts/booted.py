"""A machine that the real systemd runs: PID 1 of namespaces of its own, with the system bus and whatever units are asked for.

Its processes, mounts, host name, network (``wired0``, whose far end is ``far0``) and control groups are its own; so are /etc (over
the host's), /var/lib, /var/tmp, /tmp, /run, /dev and /sys. Nothing of the host's boot comes with it: no generator, no unit that touches a disk, a device or
the kernel's settings. Killing PID 1 ends all of it, which is what a power cut looks like; what is below ``top`` stays.
"""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.parts.files import write_whole
from tests.parts.installed import cgroup_root, require
from tests.parts.processes import Program, Programs, run
from tests.parts.waiting import wait_until

PARTS: Final = ("root", "cgroup", "unshare", "ip", "systemd", "dbus-daemon")
"""What it needs, for ``pytest.mark.real``."""
CHECKOUT: Final = Path(__file__).resolve().parents[2]
TARGET: Final = "multi-user.target"
_OF_THE_TEST: Final = ("systemd/system", "systemd/network", "NetworkManager")
"""Folders of /etc of which the host's content does not show."""
_ITS_OWN: Final = ("/tmp", "/var/tmp", "/var/lib")
"""What stands there on the host does not show, but for what has to."""
_FIRST_STEPS: Final = """
echo $$ >"$GROUP/cgroup.procs"
exec unshare --mount --uts --net --pid --ipc --cgroup --fork --kill-child --mount-proc --propagation private /bin/sh -ec '
mount --bind /proc/sys /proc/sys
mount --bind /proc/sys/net /proc/sys/net
mount --bind "$TOP/boot_id" /proc/sys/kernel/random/boot_id
mount -o remount,bind,ro /proc/sys
mount -t sysfs -o ro sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t overlay -o "lowerdir=/etc,upperdir=$TOP/etc,workdir=$TOP/work" overlay /etc
mount -t tmpfs -o mode=755 tmpfs /run
mount -t overlay -o "lowerdir=$TOP/bin:/usr/bin" overlay /usr/bin
mount -t overlay -o "lowerdir=$TOP/share:/usr/share" overlay /usr/share
mount -t tmpfs -o mode=1777 tmpfs "$TOP/own/tmp"
for path in $SHOWN; do mkdir -p "$TOP/own/$path"; mount --bind "$path" "$TOP/own/$path"; done
for folder in tmp var/tmp var/lib; do mount --rbind "$TOP/own/$folder" "/$folder"; done
mount -t tmpfs tmpfs /lib/systemd/system-generators
for target in local-fs multi-user sockets sysinit timers; do mount -t tmpfs tmpfs "/lib/systemd/system/$target.target.wants"; done
mount -t tmpfs -o mode=755 tmpfs "$TOP/dev"
for name in full null random tty urandom zero; do : >"$TOP/dev/$name"; mount --bind "/dev/$name" "$TOP/dev/$name"; done
mount --rbind "$TOP/dev" /dev
mkdir /dev/hugepages /dev/mqueue /dev/pts /dev/shm
ln -s /proc/self/fd /dev/fd
ln -s pts/ptmx /dev/ptmx
mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
hostname "$(cat /etc/hostname)"
ip link add wired0 type veth peer name far0
ip link set far0 up
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit="$TARGET" --log-target=null --show-status=no
'
"""


@dataclass(slots=True)
class Booted:
    """The machine.

    Attributes:
        top: a folder that its first process may pass; holds what stays over a power cut.
        units: started at each boot.
    """

    top: Path
    programs: Programs
    units: Sequence[str] = ()
    holder: Program | None = field(default=None)
    init_pid: int = field(default=0)
    boot: uuid.UUID = field(default_factory=uuid.uuid4)

    @property
    def etc(self) -> Path:
        return self.top / "etc"

    @property
    def _group(self) -> Path:
        root = cgroup_root()
        assert root is not None
        return root / self.top.parent.name

    def file(self, path: str, text: str, mode: int = 0o644) -> Path:
        """Write a file below /etc: before the boot, or while it runs."""
        target = (self.etc if self.holder is None else self.inside("/etc")) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return write_whole(target, text, mode)

    def inside(self, path: str) -> Path:
        """Give a path on the machine as seen from outside, with whatever is mounted there."""
        return Path(f"/proc/{self.init_pid}/root{path}")

    def prepare(self) -> None:
        """Lay out once what stays."""
        for name in ("etc", "work", "dev", "bin", "share", "own/tmp", "own/var/tmp", "own/var/lib/NetworkManager"):
            (self.top / name).mkdir(parents=True)
        (self.top / "own/var/tmp").chmod(0o1777)
        for name in _OF_THE_TEST:
            (self.etc / name).mkdir(parents=True)
            os.setxattr(self.etc / name, "trusted.overlay.opaque", b"y")  # overlayfs: nothing below it shows
        self.file("hostname", "before\n")
        self.file("network/interfaces", "")
        self._wanted_by("sockets.target", "dbus.socket")
        for unit in self.units:
            self._wanted_by(TARGET, unit)

    def _wanted_by(self, target: str, unit: str) -> None:
        folder = self.etc / f"systemd/system/{target}.wants"
        folder.mkdir(exist_ok=True)
        (folder / unit).symlink_to(f"/lib/systemd/system/{unit}")

    def power_on(self) -> None:
        """Boot it; what its units did is to be waited for."""
        self._group.mkdir(exist_ok=True)
        self.boot = uuid.uuid4()
        write_whole(self.top / "boot_id", f"{self.boot}\n", 0o444)
        shown = {path for path in self._shown() if any(path.is_relative_to(folder) for folder in _ITS_OWN)}
        world = {"TOP": str(self.top), "GROUP": str(self._group), "TARGET": TARGET, "SHOWN": " ".join(map(str, shown))}
        self.holder = self.programs.start(
            "/bin/sh", "-ec", _FIRST_STEPS, name="booted", env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **world}
        )
        self.init_pid = wait_until(self._find_init, 20, "the first process")
        wait_until(lambda: self.run("systemctl", "is-active", TARGET).returncode == 0, 30, "the end of its boot")

    def _shown(self) -> tuple[Path, ...]:
        """Give what of the host's own folders has to be seen on the machine: us."""
        return self.top.parent, CHECKOUT, Path(sys.prefix), Path(sys.base_prefix)

    def _find_init(self) -> int:
        assert self.holder is not None
        assert self.holder.is_running, self.holder.log_text()
        children = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().split()
        is_there = children and Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n"
        return int(children[0]) if is_there else 0

    def cut_power(self) -> None:
        """End everything on the machine at once."""
        if self.holder is not None:
            os.kill(self.init_pid, signal.SIGKILL)
            self.holder.process.wait(20)
            self.holder = None
        for folder, _, _ in os.walk(self._group, topdown=False):
            with suppress(FileNotFoundError):
                Path(folder).rmdir()
        left = [path for folder in ("/tmp", "/var/tmp") for path in Path(folder).glob(f"*{self.boot.hex}*")]
        assert not left, f"the machine left on its host: {left}"

    def entered(self) -> tuple[str, ...]:
        """Give what stands before a command that is to run on the machine."""
        spaces = ("--mount", "--uts", "--net", "--pid", "--ipc", "--cgroup")
        return (str(require("nsenter")), f"--target={self.init_pid}", *spaces, "--wd=/", "--")

    def run(self, *argv: str | os.PathLike[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a program on the machine to its end; never raises for a status."""
        return run([*self.entered(), *argv], stdin=stdin)

    def must(self, *argv: str | os.PathLike[str]) -> str:
        """Run a program on the machine and give its output; a status other than 0 fails with all it said."""
        done = self.run(*argv)
        said = (done.stdout + done.stderr).decode()
        assert done.returncode == 0, f"{' '.join(map(str, argv))} ended with {done.returncode}:\n{said}"
        return done.stdout.decode()
