"""A device whose network one of the managers has, as its maker set it: a machine that the real systemd runs, and the runner's hooks on it.

The runner starts the hooks there as on a device: each as a unit, by the real systemd-run.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.parts.booted import Booted
from tests.parts.files import scratch_folder, write_whole
from tests.parts.processes import Programs
from tests.parts.waiting import wait_until
from tests.runner.hook_bench import FIRMWARE, Bench, told

OLD: Final = {
    "interface": "wired0",
    "method": "static",
    "address": "10.1.1.5/24",
    "gateway": "10.1.1.1",
    "dns": ["10.1.1.2"],
}
NEW: Final = {**OLD, "address": "10.9.8.7/24", "gateway": "10.9.8.1", "dns": ["10.9.8.2", "10.9.8.3"]}
PATIENCE_S: Final = 1
LEASED: Final = "10.7.7."


class Manager(NamedTuple):
    """What has the device's network.

    Attributes:
        stops: of each hook, the program and its words before a file has its name, and before the manager hears of it.
        files: the device maker's, below /etc, which say OLD.
        dhcp: what the last of them would say instead.
    """

    part: str
    unit: str
    stops: Mapping[tuple[str, str], tuple[str, str]]
    files: Mapping[str, str]
    dhcp: str


MANAGERS: Final = (
    Manager(
        "NetworkManager",
        "NetworkManager.service",
        {
            ("settings-apply", "written"): ("mv", "/.doorward.nmconnection.doorward "),
            ("settings-apply", "told"): ("nmcli", "connection load"),
            ("settings-revert", "written"): ("mv", "/.resolv.conf.doorward "),
        },
        {
            "NetworkManager/NetworkManager.conf": "[main]\nplugins=ifupdown,keyfile\n\n[ifupdown]\nmanaged=false\n",
            "NetworkManager/conf.d/test.conf": "[keyfile]\nunmanaged-devices=interface-name:far0\n\n"
            f"[connection]\nipv4.dhcp-timeout={PATIENCE_S}\nipv6.ra-timeout={PATIENCE_S}\n",
            "NetworkManager/system-connections/wired.nmconnection": "[connection]\nid=The maker's\ntype=ethernet\n"
            "interface-name=wired0\n\n[ipv4]\nmethod=manual\naddress1=10.1.1.5/24,10.1.1.1\ndns=10.1.1.2\n",
        },
        "[connection]\nid=The maker's\ntype=ethernet\ninterface-name=wired0\n\n[ipv4]\nmethod=auto\n",
    ),
    Manager(
        "systemd-networkd",
        "systemd-networkd.service",
        {
            ("settings-apply", "written"): ("mv", "/.05-doorward.network.doorward "),
            ("settings-apply", "told"): ("networkctl", "reload"),
            ("settings-revert", "written"): ("mv", "/.resolv.conf.doorward "),
        },
        {
            "systemd/network/20-wired.network": "[Match]\nName=wired0\n\n[Network]\nAddress=10.1.1.5/24\nGateway=10.1.1.1\n",
            "resolv.conf": "nameserver 10.1.1.2\n",
        },
        "[Match]\nName=wired0\n\n[Network]\nDHCP=ipv4\n",
    ),
)

IFUPDOWN: Final = Manager(
    "ifup",
    "networking.service",
    {},
    {
        "network/interfaces": "auto lo\niface lo inet loopback\n\nauto wired0\niface wired0 inet static\n"
        "    address 10.1.1.5/24\n    gateway 10.1.1.1\n",
        "resolv.conf": "nameserver 10.1.1.2\n",
    },
    "",
)
"""Its other unit, ``ifup@``, is Debian's without the lines that wait for udev to know the interface: there is no udev here."""


@dataclass(frozen=True, slots=True)
class Device:
    """The machine, and the runner's half that starts hooks on it."""

    machine: Booted
    manager: Manager
    bench: Bench

    def run(self, verb: str, arguments: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Run a hook as the runner does."""
        bench = Bench(self.bench.top, self.bench.user, self.machine.entered())
        return bench.run(verb, told(verb, arguments), limit_s=50)

    def apply(self, network: Mapping[str, Any], **others: Any) -> Mapping[str, Any]:
        return self.run("settings-apply", {"values": {"network": network, **others}})

    def must(self, verb: str, arguments: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Run a hook that has to do it; gives its result."""
        ran = self.run(verb, arguments)
        assert (ran["code"], ran["status"]) == (None, 0), ran
        return ran["result"] or {}

    def network(self) -> dict[str, Any]:
        """Give what the kernel has and what names are looked up with, in the form of a setting."""
        ip = ("ip", "-json", "-4")
        addresses = [
            f"{one['local']}/{one['prefixlen']}"
            for link in json.loads(self.machine.must(*ip, "address", "show", "dev", "wired0"))
            for one in link.get("addr_info", [])
        ]
        ways = [way.get("gateway") for way in json.loads(self.machine.must(*ip, "route", "show", "default"))]
        lines = self.machine.must("cat", "/etc/resolv.conf").splitlines()
        servers = [line.split()[1] for line in lines if line.startswith("nameserver")]
        return {
            "interface": "wired0",
            "method": "static",
            "address": ", ".join(addresses),
            "gateway": ", ".join(map(str, ways)),
            "dns": servers,
        }

    def wait_for(self, network: Mapping[str, Any]) -> None:
        """Wait until the network is so; systemd-networkd does it after it was told."""
        wait_until(lambda: self.network() == network, 20, f"{network}, which is {self.network()}")

    def files(self) -> dict[str, str]:
        """Give whatever of /etc the machine has of its own, but for what NetworkManager keeps writing."""
        top = self.machine.etc
        return {str(path.relative_to(top)): path.read_text() for path in sorted(top.rglob("*")) if path.is_file()}

    def reboot(self) -> None:
        self.machine.cut_power()
        self.machine.power_on()

    def answer_dhcp(self) -> None:
        """Put the far end of the cable into a network of its own, where a server gives out addresses; until the next boot."""
        server = "--no-daemon --conf-file=/dev/null --port=0 --leasefile-ro --no-ping --interface=far0 --user=root --bind-interfaces"
        gives = f"--dhcp-range={LEASED}50,{LEASED}99 --dhcp-option=3,{LEASED}1 --dhcp-option=6,{LEASED}2"
        steps = f"""
        until ip link show far0; do sleep 0.05; done
        ip address add {LEASED}1/24 dev far0
        ip link set far0 up
        exec dnsmasq {server} {gives}
        """
        far = self.machine.programs.start(
            *self.machine.entered(), "unshare", "--net", "/bin/sh", "-ec", steps, name="far"
        )
        children = f"/proc/{far.pid}/task/{far.pid}/children"
        inside = int(wait_until(lambda: Path(children).read_text().split(), 10, "the far end")[0])
        own = Path(f"/proc/{self.machine.init_pid}/ns/net").readlink()
        wait_until(lambda: Path(f"/proc/{inside}/ns/net").readlink() != own, 10, "its network")
        number = next(
            line.split()[-1] for line in Path(f"/proc/{inside}/status").read_text().splitlines() if "NSpid" in line
        )
        self.machine.must("ip", "link", "set", "far0", "netns", number)
        if self.manager.part == "NetworkManager":  # now there is somebody to wait for
            patient = self.machine.inside("/etc/NetworkManager/conf.d/test.conf").read_text()
            self.machine.file(
                "NetworkManager/conf.d/test.conf", patient.replace(f"timeout={PATIENCE_S}\n", "timeout=40\n")
            )
            self.machine.must("nmcli", "general", "reload", "conf")

    def stop_hook_at(self, program: str, words: str) -> None:
        """Let whichever hook calls the program with these words be killed there; until the next boot."""
        real = shutil.copy2(f"/usr/bin/{program}", self.machine.top / f"real-{program}")
        script = f'#!/bin/sh\ncase "$*" in *\'{words}\'*) kill -9 $PPID; exec sleep 60 ;; esac\nexec {real} "$@"\n'
        write_whole(self.machine.top / program, script, 0o755)
        self.machine.must("mount", "--bind", self.machine.top / program, f"/usr/bin/{program}")


@contextmanager
def managed(manager: Manager, *, begins_with: Mapping[str, Any] = OLD) -> Iterator[Device]:
    """Give a machine that has booted, as its maker set it."""
    with scratch_folder() as top:
        programs = Programs(top)
        machine = Booted(top / "machine", programs, (manager.unit,))
        made = Device(machine, manager, Bench(top / "runner", "root").settle())
        for verb in ("health", "settings-apply", "settings-read", "settings-revert"):
            shutil.copy2(FIRMWARE / verb, made.bench.ours / verb)
        try:
            machine.prepare()
            if (unit := Path("/lib/systemd/system/ifup@.service")).exists():
                lines = unit.read_text().splitlines(keepends=True)
                machine.file(f"systemd/system/{unit.name}", "".join(one for one in lines if ".device" not in one))
            for path, text in manager.files.items():
                machine.file(path, text, 0o600 if path.endswith(".nmconnection") else 0o644)
            machine.file("hosts", "127.0.0.1 localhost\n127.0.1.1 before\n")
            machine.file("resolv.conf", manager.files.get("resolv.conf", ""))
            machine.power_on()
            made.wait_for(begins_with)
            yield made
        finally:
            machine.cut_power()
            programs.end_all()
