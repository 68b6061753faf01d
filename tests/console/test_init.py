"""``doorward-console``: what init makes, who can read it, and that the broker's configuration keeps devices apart."""

import json
import os
import pwd
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from doorward_console.config import config_from_file
from doorward_console.edges.key_files import wrapping_key_from_file
from paho.mqtt.enums import CallbackAPIVersion

from tests.parts.accounts import remove_account
from tests.parts.files import scratch_folder, write_whole
from tests.parts.ports import free_port
from tests.parts.processes import PLAIN_ENVIRONMENT, Programs, run
from tests.parts.waiting import wait_until

PROGRAM = (sys.executable, "-m", "doorward_console")


def python_of(user: str) -> tuple[Path, dict[str, str]]:
    """Find a Python of our version that another user may run, and the environment in which it finds our packages.

    Ours may stand in root's own home, behind a folder that nobody else may enter.
    """
    own = Path(sys.executable)
    system = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    packages = [path for path in sys.path if path.endswith(("site-packages", "/console", "/protocol"))]
    environment = dict(PLAIN_ENVIRONMENT) | {"PYTHONPATH": os.pathsep.join(packages)}
    for program in (own, system):
        if _can_run(program, user, environment):
            return program, environment
    pytest.skip(f"needs a Python that other users may run: apt install {system.name}")


def _can_run(program: Path, user: str, environment: dict[str, str]) -> bool:
    try:
        tried = run([program, "-c", "import doorward_console, django"], user=user, env=environment)
    except OSError:
        return False
    return tried.returncode == 0


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """The configuration of a console that was set up once, for tests that only look at it."""
    with scratch_folder() as folder:
        yield init(folder, broker_port=free_port())


def init(folder: Path, *more: str, broker_port: int = 8883) -> Path:
    """Set a console up in ``folder`` and give its configuration's path."""
    write_whole(folder / "password", "correct horse battery", 0o600)
    done = run(
        [
            *PROGRAM, "init", "--config-dir", folder / "etc", "--data-dir", folder / "data", "--run-dir", folder / "run",
            "--address", "https://localhost:8443", "--listen", f"127.0.0.1:{free_port()}",
            "--broker", f"localhost:{broker_port}", "--owner", "aiko@example.com", "--project", "plant",
            "--password-file", folder / "password", *more,
        ],
        limit_s=50,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert b"correct horse" not in done.stdout + done.stderr
    return folder / "etc" / "console.toml"


def console(config: Path, *arguments: str, user: str | None = None) -> "subprocess.CompletedProcess[bytes]":
    return run([*PROGRAM, "--config", config, *arguments], user=user, limit_s=50)


def test_init_when_run_then_secrets_are_their_owners_alone(installed: Path) -> None:
    """Every key file has mode 0400 from its first byte on; the configuration reads back."""
    config = config_from_file(installed)
    for path in (config.web_key, config.worker_key, config.signer_key, config.tls_key, config.worker_certificate_key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert config.address == "https://localhost:8443"


def test_init_when_run_then_the_file_names_where_its_keys_are_explained(installed: Path) -> None:
    """The new configuration leads to the example, which every wheel brings along."""
    named = re.findall(r"(?:docs|examples)/[a-z.]+", installed.read_text())
    assert named == ["examples/console.toml"]
    assert (Path(__file__).parents[2] / named[0]).exists()


def test_init_when_run_twice_then_refused_and_nothing_changes(installed: Path) -> None:
    """A console that is there is never overwritten."""
    path = installed
    before = {one: one.read_bytes() for one in path.parent.iterdir()}
    again = run([*PROGRAM, "init", "--config-dir", path.parent, "--address", "https://a", "--owner", "a@b.c",
                 "--project", "x"])  # fmt: skip
    assert (again.returncode, b"is there already" in again.stderr) == (1, True)
    assert {one: one.read_bytes() for one in path.parent.iterdir()} == before


def test_init_when_address_is_not_https_then_78_and_no_configuration(scratch: Path) -> None:
    """A configuration that could not be read again is not left behind."""
    done = run([*PROGRAM, "init", "--config-dir", scratch / "etc", "--data-dir", scratch / "d", "--run-dir",
                scratch / "r", "--address", "http://a", "--owner", "a@b.c", "--project", "x"])  # fmt: skip
    assert done.returncode == 78
    assert b"https://" in done.stderr
    assert not (scratch / "etc" / "console.toml").exists()


def test_help_when_asked_then_examples_come_first() -> None:
    """Help starts with what one would type, for the program and for each command."""
    text = run([*PROGRAM, "--help"]).stdout.decode()
    assert text.index("examples:") < text.index("positional arguments")
    assert "example:" in run([*PROGRAM, "broker-config", "--help"]).stdout.decode()


def test_command_when_configuration_is_missing_then_78_and_one_line(scratch: Path) -> None:
    """A missing file is said in one line, with its name."""
    done = console(scratch / "none.toml", "check")
    assert done.returncode == 78
    assert done.stderr.decode().count("\n") == 1
    assert "none.toml" in done.stderr.decode()


def test_command_when_extra_is_missing_then_one_clear_line(installed: Path) -> None:
    """Without the console's extra the program says what to install, and shows no traceback."""
    blocked = "import sys; sys.modules['django'] = None; from doorward_console.__main__ import main; sys.exit(main())"
    done = run([sys.executable, "-c", blocked, "--config", installed, "check"])
    assert done.returncode == 1
    assert done.stderr.decode() == "django is not installed. Install the console: pip install 'doorward[console]'\n"


def test_check_when_nothing_runs_then_says_so_with_next_steps(installed: Path) -> None:
    """A fault makes the exit code 1 and names its cure, in lines and as JSON."""
    path = installed
    lines = console(path, "check")
    assert lines.returncode == 1
    assert "FAIL signer: does not run\n       next: Start it: doorward-console signer" in lines.stdout.decode()
    document = json.loads(console(path, "check", "--json").stdout)
    states = {one["what"]: one["ok"] for one in document["findings"]}
    assert states["database"] is True
    assert states["tables"] is True
    assert states["broker"] is False


def test_ceilings_when_unknown_key_then_signer_does_not_start(scratch: Path) -> None:
    """A mistyped ceiling is an error, not a missing ceiling."""
    path = init(scratch)
    ceilings = config_from_file(path).ceilings
    write_whole(ceilings, 'longest_sesion_s = 60\nmost_open_sessions = 0\nmay_open_roles = ["king"]\n')
    done = console(path, "signer")
    assert done.returncode == 78
    for fault in ("longest_sesion_s", "most_open_sessions", "may_open_roles"):
        assert fault in done.stderr.decode()


def test_signer_when_its_key_is_readable_by_others_then_does_not_start(scratch: Path) -> None:
    """A wrapping key that others can read is refused."""
    path = init(scratch)
    config_from_file(path).signer_key.chmod(0o440)
    done = console(path, "signer")
    assert (done.returncode, b"others can read it" in done.stderr) == (78, True)


@pytest.fixture
def users() -> Iterator[str]:
    """A prefix for three system users, who are removed after the test."""
    prefix = f"dwt{os.getpid()}"
    yield prefix
    for name in ("web", "worker", "signer"):
        remove_account(f"{prefix}-{name}")
    run(["/usr/sbin/groupdel", prefix])


_THIEF = """
import sys
from pathlib import Path
from doorward_console.__main__ import set_up_django
config = Path(sys.argv[1])
set_up_django(config)
from django.conf import settings
from doorward_console.edges.key_files import BadKeyFile, wrapping_key_from_file
from doorward_console.keys.models import Key
from doorward_console.keys.opening import SignerKeys, name_of
from doorward_console.keys.wrapping import NotUnwrapped, WrappingKey
try:
    wrapping_key_from_file(settings.CONFIG.signer_key)
    print("READ THE SIGNER'S KEY")
except BadKeyFile as refused:
    print("refused:", refused.fault)
row = Key.objects.get(kind="grant")
tried = 0
for path in (settings.CONFIG.web_key, settings.CONFIG.worker_key, settings.CONFIG.tls_key, settings.CONFIG.tls_certificate):
    try:
        raw = path.read_bytes()
    except PermissionError:
        continue
    for secret in {raw[:32], raw[-32:]}:
        tried += 1
        try:
            WrappingKey(secret).unwrap(name_of("grant", row.project_id), bytes(row.wrapped))
            print("OPENED THE GRANT KEY")
        except NotUnwrapped:
            pass
print("tried", tried)
"""


@pytest.mark.real("root", "useradd")
@pytest.mark.threat("worker-reads-keys", "web-process-reads-keys", "database-keys")
def test_grant_key_when_web_or_worker_try_as_their_users_then_out_of_reach(scratch: Path, users: str) -> None:
    """As their own system users, web and worker can read neither the signer's key file nor the grant key behind it."""
    path = init(scratch, "--separate", users)
    config = config_from_file(path)
    assert pwd.getpwuid(config.signer_key.stat().st_uid).pw_name == f"{users}-signer"
    python, environment = python_of(f"{users}-web")
    for name in ("web", "worker"):
        tried = run([python, "-c", _THIEF, path], user=f"{users}-{name}", env=environment)
        said = tried.stdout.decode()
        assert "refused: cannot be read (Permission denied)" in said, said + tried.stderr.decode()
        assert "READ" not in said
        assert "OPENED" not in said
        assert int(said.rsplit(None, 1)[1]) >= 2  # it had something to try with
    own = run([python, "-c", _THIEF, path], user=f"{users}-signer", env=environment)
    assert "READ THE SIGNER'S KEY" in own.stdout.decode()


@pytest.mark.real("root", "useradd")
def test_processes_when_separate_then_each_starts_as_its_user(scratch: Path, users: str, programs: Programs) -> None:
    """The three processes run with what their own users may read, share doorbells and database, and check says so."""
    path = init(scratch, "--separate", users, broker_port=free_port())
    python, environment = python_of(f"{users}-web")
    for name in ("signer", "worker", "web"):
        program = (python, "-m", "doorward_console", "--config", path, name)
        programs.start(*program, name=name, user=f"{users}-{name}", env=environment)

    def states() -> dict[str, bool | None]:
        document = json.loads(console(path, "check", "--json").stdout)
        return {one["what"]: one["ok"] for one in document["findings"]}

    wanted = dict.fromkeys(("separation", "signer", "worker", "web", "database"), True)
    wait_until(lambda: wanted.items() <= states().items(), 30, "three processes")


@pytest.mark.threat("database-keys")
def test_database_when_dumped_then_no_private_key_or_password_in_it(installed: Path) -> None:
    """A copy of the database holds no wrapping key, no opened key, and no password."""
    config = config_from_file(installed)
    place = config.database.partition(":")[2]
    with sqlite3.connect(place) as connection:
        dump = "\n".join(connection.iterdump()).encode()
    wrapping = wrapping_key_from_file(config.signer_key)
    with sqlite3.connect(place) as connection:
        rows = connection.execute("SELECT kind, project_id, wrapped FROM keys_key WHERE holder = 'signer'").fetchall()
    assert {kind for kind, _, _ in rows} == {"root-ca", "grant", "device-ca", "tunnel-ca", "host-ca"}
    secrets = [wrapping.secret, b"correct horse battery", config.web_key.read_bytes()]
    secrets += [wrapping.unwrap(f"{project or '-'}/{kind}", wrapped) for kind, project, wrapped in rows]
    for secret in secrets:
        assert secret not in dump
        assert secret.hex().encode() not in dump.lower()


class Peer:
    """An MQTT client with a certificate, and what it has heard."""

    def __init__(self, port: int, ca: Path, certificate: Path, key: Path, client_id: str = "") -> None:
        self.heard: list[tuple[str, bytes | bytearray]] = []
        self.joined = False
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        self.client.tls_set(str(ca), str(certificate), str(key))
        self.client.on_message = lambda _c, _u, message: self.heard.append((message.topic, message.payload))
        self.client.on_connect = lambda *_: setattr(self, "joined", True)
        self.losses = 0
        self.client.on_disconnect = self._on_disconnect
        self.subscribed = False
        self.client.on_subscribe = lambda *_: setattr(self, "subscribed", True)
        self.client.connect("localhost", port)
        self.client.loop_start()
        wait_until(lambda: self.joined, what="a connection")

    def _on_disconnect(self, *_: object) -> None:
        self.losses += 1

    def hear_everything(self) -> None:
        """Subscribe to all devices' topics, which the broker grants and then filters, and wait for its answer."""
        self.client.subscribe("doorward/v1/device/#", qos=1)
        wait_until(lambda: self.subscribed, what="the subscription")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


_CERTIFY = """
import sys
from pathlib import Path
from doorward_console.__main__ import set_up_django
set_up_django(Path(sys.argv[1]))
from django.conf import settings
from django.utils import timezone
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.keys.opening import SignerKeys
from doorward_console.keys.x509 import CLIENT
from doorward_console.people.models import Project
ca = SignerKeys(wrapping_key_from_file(settings.CONFIG.signer_key)).device_ca(Project.objects.get().id)
for name in sys.argv[3:]:
    made = ca.issue(name, CLIENT, timezone.now(), 30)
    (Path(sys.argv[2]) / f"{name}.pem").write_text(made.chain_pem)
    (Path(sys.argv[2]) / f"{name}.key").write_bytes(made.key_pem())
"""


@pytest.mark.real("mosquitto")
@pytest.mark.threat("device-foreign-topics")
def test_broker_config_when_started_then_devices_are_kept_apart(scratch: Path, programs: Programs) -> None:
    """With the written files Mosquitto delivers a device's own topics, nobody else's, and ignores its client id."""
    port = free_port()
    path = init(scratch, broker_port=port)
    config = config_from_file(path)
    done = console(path, "broker-config", str(scratch / "broker"))
    assert done.returncode == 0, done.stderr.decode()
    one, two = "d-aaaaaaaaaaaaaaaa", "d-bbbbbbbbbbbbbbbb"
    certified = run([sys.executable, "-c", _CERTIFY, path, scratch, one, two])
    assert certified.returncode == 0, certified.stderr.decode()
    broker = programs.start("/usr/sbin/mosquitto", "-c", scratch / "broker" / "mosquitto.conf", name="mosquitto")
    broker.wait_for_port(port)
    worker = Peer(port, config.broker_ca, config.worker_certificate, config.worker_certificate_key)
    device = Peer(port, config.broker_ca, scratch / f"{one}.pem", scratch / f"{one}.key", client_id=one)
    # the second device claims the first one's client id, and must not throw it off
    thief = Peer(port, config.broker_ca, scratch / f"{two}.pem", scratch / f"{two}.key", client_id=one)
    try:
        for peer in (worker, device, thief):
            peer.hear_everything()
        device.client.publish(f"doorward/v1/device/{one}/ask", b"mine", qos=1)
        thief.client.publish(f"doorward/v1/device/{one}/ask", b"forged", qos=1)
        thief.client.publish(f"doorward/v1/device/{one}/order", b"forged", qos=1)
        worker.client.publish(f"doorward/v1/device/{one}/order", b"order", qos=1).wait_for_publish(5)
        thief.client.publish(f"doorward/v1/device/{two}/ask", b"last", qos=1)
        wait_until(lambda: any(payload == b"last" for _, payload in worker.heard), what="the last message")
        wait_until(lambda: device.heard, what="the order")
        assert device.losses == 0
        assert (f"doorward/v1/device/{one}/ask", b"mine") in worker.heard
        assert not any(payload == b"forged" for _, payload in worker.heard + device.heard)
        assert device.heard == [(f"doorward/v1/device/{one}/order", b"order")]
        assert thief.heard == []
    finally:
        for peer in (worker, device, thief):
            peer.close()


def test_serve_when_one_process_ends_then_all_end(scratch: Path, programs: Programs) -> None:
    """serve says that it does not separate, and leaves nothing running."""
    path = init(scratch, broker_port=free_port())
    serve = programs.start(*PROGRAM, "--config", path, "serve", name="serve")
    serve.wait_for_log("not separated")
    serve.wait_for_log("Uvicorn running", limit_s=30)
    children = [int(pid) for pid in Path(f"/proc/{serve.pid}/task/{serve.pid}/children").read_text().split()]
    assert len(children) == 3
    serve.kill()
    wait_until(lambda: not any(_runs(pid) for pid in children), 15, "the children's end")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
