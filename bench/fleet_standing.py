"""A console on PostgreSQL with one worker and one signer, Mosquitto, a scripted relay, and a fleet of simulated devices.

Worker and signer are the real programs. This process stands for web: it makes the rows and asks as web does, and it is the relay,
which says of each opening what a relay would see.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from doorward_console.__main__ import set_up_django
from doorward_console.keys.ceilings import text_from_ceilings
from doorward_console.maintenance.decisions import Ceilings

from bench.report import say
from tests.house.machine import CHECKOUT, PROGRAMS
from tests.parts.files import write_whole
from tests.parts.mosquitto import Broker, start_mosquitto
from tests.parts.postgres import start_postgres
from tests.parts.processes import Program, Programs
from tests.worlds.scripted_relay import ScriptedRelay

if TYPE_CHECKING:
    from doorward_console.fleet.models import Device

PROCESSES: Final = 4
_LINE: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDUaYnQVMAiyX1b1tKjWFMwJ2RB1rd8sQvYB8TCF0cZk"


@dataclass(slots=True)
class Fleet:
    """Everything that stands."""

    programs: Programs
    folder: Path
    broker: Broker
    relay: ScriptedRelay
    worker: Program | None = None
    signer: Program | None = None
    owner: Any = None
    devices: list["Device"] = field(default_factory=list)
    _fleets: list["subprocess.Popen[str]"] = field(default_factory=list)
    _done: list[threading.Event] = field(default_factory=list)

    def start_devices(self, names: list[str], pinned: dict[str, str]) -> dict[str, str]:
        """Start the processes of devices, each with what it ``pinned`` at joining; gives each one's public key."""
        keys: dict[str, str] = {}
        for n in range(PROCESSES):
            plan = self.folder / f"devices-{n}.json"
            place = {"host": self.broker.host, "port": self.broker.port, "ca": str(self.broker.ca_file), **pinned}
            write_whole(plan, json.dumps(place | {"devices": [self._plan(one) for one in names[n::PROCESSES]]}))
            started = subprocess.Popen(
                [sys.executable, "-m", "bench.fleet_devices", plan], cwd=CHECKOUT, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            assert started.stdout is not None
            keys |= json.loads(started.stdout.readline())["keys"]
            self._fleets.append(started)
            self._done.append(threading.Event())
            threading.Thread(target=self._listen, args=(started, self._done[-1]), daemon=True).start()
        return keys

    def connect(self, size: int) -> None:
        """Have the first ``size`` devices connected."""
        self.tell("connect", size)

    def tell(self, do: str, size: int) -> None:
        """Have the first ``size`` devices do something and wait until they have."""
        for n, (done, fleet) in enumerate(zip(self._done, self._fleets, strict=True)):
            done.clear()
            assert fleet.stdin is not None
            fleet.stdin.write(json.dumps({"do": do, "devices": len(range(n, size, PROCESSES))}) + "\n")
            fleet.stdin.flush()
        for done in self._done:
            assert done.wait(120), f"{do}: a process of devices did not answer"

    def _plan(self, name: str) -> dict[str, str]:
        certificate, key = self.broker.client(name).write(self.folder, name)
        return {"device": name, "certificate": str(certificate), "key": str(key)}

    def _listen(self, fleet: "subprocess.Popen[str]", done: threading.Event) -> None:
        assert fleet.stdout is not None
        for line in fleet.stdout:
            said = json.loads(line)
            if "done" in said:
                done.set()
            elif session := said.get("door.opened"):
                self.relay.says("tunnel.up", session, said["device"])
                self.relay.says("door.answered", session, said["device"], ms=3)

    def close(self) -> None:
        for one in self._fleets:
            one.kill()
            one.wait()
        self.relay.stop()
        self.programs.end_all()


@contextmanager
def standing(folder: Path, size: int) -> Iterator[Fleet]:
    """Set everything up for ``size`` devices; none of them is connected yet."""
    programs = Programs(folder)
    database = start_postgres(programs, folder / "postgres")
    database.new_database("doorward")
    broker = start_mosquitto(programs, folder / "broker")
    write_whole(broker.folder / "mosquitto.conf", _for_many(broker))
    broker.stop()
    broker.start()
    (folder / "relay").mkdir()
    made = Fleet(programs, folder, broker, ScriptedRelay(folder / "relay"))
    made.relay.start()
    try:
        set_up_django(configured(folder, broker, f"postgresql://postgres@127.0.0.1:{database.port}/doorward", size))
        say(f"{size} devices: rows, certificates, connections")
        _write_rows(made, size)
        made.signer = _start(made, "signer")
        made.worker = _start(made, "worker")
        yield made
    finally:
        made.close()


def _for_many(broker: Broker) -> str:
    """Let the broker log less than the tests want, and keep a worker's messages as docs/operations.md has it."""
    text = (broker.folder / "mosquitto.conf").read_text()
    return text.replace("log_type all", "log_type error") + "max_queued_messages 100000\n"


def configured(folder: Path, broker: Broker, database: str, most_open: int) -> Path:
    """Write the console's configuration, and ceilings under which ``most_open`` doors may be open at once."""
    certificate, key = broker.client("worker-1").write(folder, "worker-1")
    (folder / "run").mkdir()
    for name in ("worker_key", "signer_key"):
        write_whole(folder / name, os.urandom(32), 0o400)
    write_whole(folder / "web_key", os.urandom(32).hex(), 0o400)
    write_whole(folder / "ceilings", text_from_ceilings(Ceilings(most_open_sessions=most_open)))
    paths = {name: folder / name for name in ("web_key", "worker_key", "signer_key", "ceilings")}
    paths |= {"broker_ca": broker.ca_file, "worker_certificate": certificate, "worker_certificate_key": key}
    lines = [f'{name} = "{path}"' for name, path in paths.items()]
    lines += [f'database = "{database}"', f'data_dir = "{folder}"', f'run_dir = "{folder}/run"']
    lines += [f'broker_host = "{broker.host}"', f"broker_port = {broker.port}"]
    return write_whole(folder / "console.toml", "\n".join(lines) + "\n")


def _start(fleet: Fleet, what: str) -> Program:
    started = fleet.programs.start(
        PROGRAMS / "doorward-console", "--config", fleet.folder / "console.toml", what, name=what
    )
    started.wait_for_log({"worker": "working", "signer": "signing"}[what], 30)
    return started


def _write_rows(fleet: Fleet, size: int) -> None:
    """Make a project with its keys, owner, relay and joined devices."""
    from django.conf import settings
    from django.core.management import call_command
    from django.utils import timezone
    from doorward_console.edges.key_files import wrapping_key_from_file
    from doorward_console.fleet.models import Device
    from doorward_console.fleet.pairing import pair
    from doorward_console.history.models import Chain
    from doorward_console.keys.making import ensure_root, ensure_signer_keys, ensure_worker_keys
    from doorward_console.keys.models import EngineerPair
    from doorward_console.keys.opening import public_part
    from doorward_console.people.models import Member, Project, User

    call_command("migrate", verbosity=0)
    project = Project.objects.create(name="plant")
    fleet.owner = User.objects.create_user("aiko@example.com", "a long password 1")
    Member.objects.create(project=project, user=fleet.owner, role="owner")
    EngineerPair.objects.create(project=project, public_key=_LINE)
    signers = wrapping_key_from_file(settings.CONFIG.signer_key)
    ensure_root(signers)
    ensure_signer_keys(project, signers)
    ensure_worker_keys(project, wrapping_key_from_file(settings.CONFIG.worker_key))
    relay = pair(project, fleet.relay.line, "a relay", fleet.owner, "203.0.113.7")
    fleet.devices = [
        Device(
            project=project, name=f"press {n}", state="joined", joined_at=timezone.now(), relay=relay,
            relay_port=22_000 + n, tunnel_key=_LINE,
        )
        for n in range(size)
    ]  # fmt: skip
    pinned = {kind: public_part(kind.removesuffix("_key"), project.id) for kind in ("grant_key", "record_key")}
    pinned |= {"project": project.id, "login_user": project.login_user}
    keys = fleet.start_devices([one.pk for one in fleet.devices], pinned)
    for one in fleet.devices:
        one.identity_key = keys[one.pk]
    Device.objects.bulk_create(fleet.devices)
    Chain.objects.bulk_create(
        Chain(project=project, author=f"device:{one.pk}", public_key=one.identity_key) for one in fleet.devices
    )
