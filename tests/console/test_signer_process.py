"""The signer as a process: quick when rung, deaf to the network, silent about its keys."""

import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from doorward_console.config import config_from_file
from doorward_console.edges.key_files import wrapping_key_from_file

from tests.console.test_init import PROGRAM, init
from tests.parts.ports import free_port
from tests.parts.postgres import Postgres
from tests.parts.processes import Program, Programs, run
from tests.parts.waiting import wait_until

_ASK = """
import json, sys, time
from pathlib import Path
from doorward_console.__main__ import set_up_django
set_up_django(Path(sys.argv[1]))
from django.conf import settings
from django.utils import timezone
from doorward_console.edges.doorbell import Bell
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.fleet.models import Device, Relay
from doorward_console.keys.models import EngineerPair
from doorward_console.keys.opening import SignerKeys
from doorward_console.maintenance.asking import turn_off, turn_on
from doorward_console.maintenance.models import Order
from doorward_console.people.models import Project, User
line = sys.argv[2]
project, owner = Project.objects.get(), User.objects.get()
relay = Relay.objects.create(project=project, name="r", host="r.example.com", ssh_host_keys=[line], paired_at=timezone.now())
device = Device.objects.create(project=project, name="d", state="joined", joined_at=timezone.now(), relay=relay,
    relay_port=22001, tunnel_key=line, presence="connected", nonce="n" * 22, runner_nonce="r" * 22)
EngineerPair.objects.create(project=project, public_key=line)
took = []
for act in (turn_on, turn_off):
    started, seen = time.monotonic(), Order.objects.filter(state="signed").count()
    before = set(Order.objects.values_list("id", flat=True))
    act(device, owner, "203.0.113.7")
    while not Order.objects.filter(state="signed").exclude(id__in=before).exists():
        if time.monotonic() - started > 10:
            sys.exit("not signed in time")
        time.sleep(0.001)
    took.append(round((time.monotonic() - started) * 1000))
print(json.dumps(took))
"""

LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDUaYnQVMAiyX1b1tKjWFMwJ2RB1rd8sQvYB8TCF0cZk"


@pytest.fixture
def signer(scratch: Path, programs: Programs) -> tuple[Path, Program]:
    """A console that was set up, and its signer at work."""
    path = init(scratch, broker_port=free_port())
    started = programs.start(*PROGRAM, "--config", path, "signer", name="signer")
    started.wait_for_log("signing")
    return path, started


def inet_sockets(pid: int) -> list[str]:
    """List the process's sockets that reach beyond the machine's unix domain, from the kernel's own tables."""
    tables = [Path(f"/proc/{pid}/net/{name}") for name in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6")]
    inodes = {line.split()[9] for table in tables if table.exists() for line in table.read_text().splitlines()[1:]}
    links = [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir() if one.is_symlink()]
    return [link for link in links if link.startswith("socket:[") and link[8:-1] in inodes]


@pytest.mark.threat("database-keys")
def test_signer_when_rung_then_signs_at_once_without_network_and_without_a_word(signer: tuple[Path, Program]) -> None:
    """Asked and signed by bell, not by poll; no socket but the bell; no key in log, arguments or environment."""
    path, process = signer
    asked = run([sys.executable, "-c", _ASK, path, LINE])
    assert asked.returncode == 0, asked.stderr.decode()
    on_ms, off_ms = json.loads(asked.stdout)
    assert max(on_ms, off_ms) < 1000  # the poll would take up to 2 s; measured on a busy machine: some 50 ms
    assert inet_sockets(process.pid) == []
    assert urlsplit(config_from_file(path).database).scheme == "sqlite"
    secret = wrapping_key_from_file(config_from_file(path).signer_key).secret
    for shown in (
        process.log.read_bytes(),
        *(Path(f"/proc/{process.pid}/{name}").read_bytes() for name in ("cmdline", "environ")),
    ):
        assert secret not in shown
        assert secret.hex().encode() not in shown


@pytest.mark.real("postgres")
def test_signer_when_on_postgres_then_rung_by_notify(
    scratch: Path, programs: Programs, postgres_cluster: Postgres
) -> None:
    """The same with PostgreSQL from init on: asked and signed by NOTIFY; the only network socket is the database's."""
    postgres_cluster.new_database("console")
    url = f"postgresql://postgres@127.0.0.1:{postgres_cluster.port}/console"
    path = init(scratch, "--database", url, broker_port=free_port())
    process = programs.start(*PROGRAM, "--config", path, "signer", name="signer")
    process.wait_for_log("signing")
    asked = run([sys.executable, "-c", _ASK, path, LINE])
    assert asked.returncode == 0, asked.stderr.decode()
    assert max(json.loads(asked.stdout)) < 1000
    assert process.end(10) == 0


def test_signer_when_told_to_stop_then_ends_cleanly(signer: tuple[Path, Program]) -> None:
    """SIGTERM is exit code 0 and takes the bell away."""
    path, process = signer
    assert process.end(10) == 0
    wait_until(lambda: not (config_from_file(path).run_dir / "signer").exists(), 2, "the bell's end")
