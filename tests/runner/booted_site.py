"""The runner as operations.md installs it where systemd is the init system: our units, enabled, on a machine that boots."""

import json
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.parts.booted import CHECKOUT, Booted
from tests.parts.files import write_whole
from tests.parts.sshd import make_ssh_key
from tests.parts.waiting import wait_until
from tests.runner.hook_bench import FIRMWARE
from tests.runner.programs import RUNNER, UNITS
from tests.runner.site import Site

ENABLED: Final = ("doorward-runner.socket", "doorward-runner-clear.service", "doorward-runner-nonce.timer")
AGENT, LOGIN = "doorward-agent", "remote-admin"
_SHOWN: Final = (
    f"[Service]\nProtectHome=tmpfs\nBindReadOnlyPaths={CHECKOUT} {sys.base_prefix} /proc/sys/kernel/random/boot_id\n"
)
"""The program and its Python may stand where the units see nothing: below /root, /home, /tmp or /var/tmp. And with a /proc of its
own a unit would see the boot of the host."""


@dataclass(slots=True)
class BootedSite(Site):
    """The runner on ``machine``, reached through its socket."""

    machine: Booted | None = None

    @property
    def on(self) -> Booted:
        """Give the machine."""
        assert self.machine is not None
        return self.machine

    def as_root(self, *words: str, stdin: bytes = b"") -> Any:
        return self.on.run(RUNNER, *words, stdin=stdin)

    def ask(self, request: Mapping[str, Any] | bytes) -> dict[str, Any]:
        line = request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n"
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(60)
            asking.connect(str(self.on.inside("/run/doorward-runner/socket")))
            asking.sendall(line)
            answer: dict[str, Any] = json.loads(asking.makefile("rb").read())
        return answer

    def nonces(self) -> list[str]:
        return self.on.inside("/run/doorward-runner/nonce").read_text().split()

    def settings(self) -> tuple[str, str | None]:
        """Give how the settings stand, as it is written down, and why; nobody is asked."""
        path = self.on.inside("/var/lib/doorward-runner/settings.json")
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"state": "none", "code": None}
        return found["state"], found["code"]


def laid_out(machine: Booted) -> None:
    """Put there what pip and useradd leave behind: the program, what comes with it, and the two users."""
    for unit in ("doorward-runner@.service", "doorward-runner-clear.service"):
        machine.file(f"systemd/system/{unit}.d/test.conf", _SHOWN)
    for name in ("examples", "systemd"):
        shutil.copytree(CHECKOUT / name, machine.top / "share/doorward" / name)
    write_whole(machine.top / "bin/doorward-runner", f'#!/bin/sh\nexec {RUNNER} "$@"\n', 0o755)
    for kind in ("passwd", "group"):
        accounts = {AGENT: 4711, LOGIN: 4712}
        rest = {"passwd": "{0}::/:/bin/sh", "group": ""}[kind]
        lines = [f"{name}:x:{number}:{rest.format(number)}\n" for name, number in accounts.items()]
        machine.file(kind, Path(f"/etc/{kind}").read_text() + "".join(lines))
    machine.file("shadow", "".join(f"{name}:*:1::::::\n" for name in ("root", AGENT, LOGIN)), 0o640)


def installed(machine: Booted, folder: Path, **config: Any) -> BootedSite:
    """Install, enable, boot anew and join, on a machine that runs."""
    laid_out(machine)
    for unit in (path for path in UNITS.glob("doorward-runner*") if path.suffix in {".service", ".socket", ".timer"}):
        machine.file(f"systemd/system/{unit.name}", unit.read_text())
    for verb in ("settings-apply", "settings-read", "settings-revert"):
        machine.file(f"doorward/hooks/{verb}", (FIRMWARE / verb).read_text(), 0o755)
    machine.file("doorward/runner.toml", "".join(f"{name} = {json.dumps(value)}\n" for name, value in config.items()))
    machine.must("systemctl", "enable", *ENABLED)
    machine.cut_power()
    machine.power_on()
    site = BootedSite(folder, LOGIN, AGENT, "systemd", machine=machine)
    make_ssh_key(site.key)
    wait_until(lambda: machine.inside("/run/doorward-runner/nonce").exists(), 20, "the first nonce")
    site.as_root("prepare")
    pinned = site.pin()
    assert pinned.returncode == 0, pinned.stderr.decode()
    return site
