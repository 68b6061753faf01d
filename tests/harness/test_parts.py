"""The parts that other tests stand on do what those tests believe of them."""

import os
import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.parts import installed
from tests.parts.files import write_whole
from tests.parts.installed import require
from tests.parts.mosquitto import Broker
from tests.parts.ports import free_ports, is_listening
from tests.parts.postgres import Postgres
from tests.parts.processes import Programs, run
from tests.parts.sshd import make_ssh_key, start_sshd
from tests.parts.waiting import wait_until

DEVICE = "d-aaaaaaaaaaaaaaaa"
OTHER = "d-bbbbbbbbbbbbbbbb"


@dataclass
class Heard:
    """What one MQTT client was told."""

    client: mqtt.Client
    connected: threading.Event = field(default_factory=threading.Event)
    subscribed: threading.Event = field(default_factory=threading.Event)
    messages: list[tuple[str, bytes]] = field(default_factory=list)
    drops: list[str] = field(default_factory=list)


@contextmanager
def connected(broker: Broker, folder: Path, name: str, client_id: str = "", hears: str = "#") -> Iterator[Heard]:
    """Connect a client with the certificate of ``name`` and subscribe it to ``hears``."""
    certificate, key = broker.client(name).write(folder, f"{name}-{client_id}")
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv311)
    client.tls_set(str(broker.ca_file), str(certificate), str(key), tls_version=ssl.PROTOCOL_TLS_CLIENT)
    heard = Heard(client)

    def on_connect(
        client: mqtt.Client, _data: object, _flags: object, code: ReasonCode, _more: Properties | None
    ) -> None:
        heard.connected.set()
        client.subscribe(hears, 1)

    client.on_connect = on_connect
    client.on_subscribe = lambda *_: heard.subscribed.set()
    client.on_message = lambda _client, _data, message: heard.messages.append((message.topic, bytes(message.payload)))
    client.on_disconnect = lambda _client, _data, _flags, code, _more: heard.drops.append(str(code))
    client.connect("localhost", broker.port)
    client.loop_start()
    try:
        assert heard.subscribed.wait(10)
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


def publish(heard: Heard, device: str, leaf: str, payload: bytes = b"hello") -> None:
    """Publish at least once and wait for the broker's acknowledgement."""
    heard.client.publish(f"doorward/v1/device/{device}/{leaf}", payload, 1).wait_for_publish(10)


@pytest.mark.real("mosquitto")
def test_broker_when_device_publishes_its_ask_then_a_replica_hears_it(broker: Broker, scratch: Path) -> None:
    """What a device writes to its own topic reaches the replicas."""
    with connected(broker, scratch, "worker-1") as worker, connected(broker, scratch, DEVICE) as device:
        publish(device, DEVICE, "ask")
        wait_until(lambda: worker.messages, what="the ask")
    assert worker.messages == [(f"doorward/v1/device/{DEVICE}/ask", b"hello")]


@pytest.mark.real("mosquitto")
def test_broker_when_order_is_published_then_only_its_device_hears_it(broker: Broker, scratch: Path) -> None:
    """An order reaches the device of its topic and no other, whatever the other subscribed to."""
    with (
        connected(broker, scratch, "worker-1") as worker,
        connected(broker, scratch, DEVICE) as device,
        connected(broker, scratch, OTHER) as other,
    ):
        publish(worker, DEVICE, "order")
        publish(worker, OTHER, "receipt")
        wait_until(lambda: device.messages and other.messages, what="both messages")
    assert [topic for topic, _ in device.messages] == [f"doorward/v1/device/{DEVICE}/order"]
    assert [topic for topic, _ in other.messages] == [f"doorward/v1/device/{OTHER}/receipt"]


@pytest.mark.real("mosquitto")
@pytest.mark.threat("device-foreign-topics")
def test_broker_when_device_writes_elsewhere_then_nobody_hears_it(broker: Broker, scratch: Path) -> None:
    """A device's certificate gives no voice on another device's topics, nor on the console's leaves of its own."""
    with connected(broker, scratch, "worker-1") as worker, connected(broker, scratch, DEVICE) as device:
        publish(device, OTHER, "ask", b"foreign")
        publish(device, DEVICE, "order", b"own order")
        publish(device, DEVICE, "ask", b"allowed")
        wait_until(lambda: worker.messages, what="the allowed message")
    assert [payload for _, payload in worker.messages] == [b"allowed"]


@pytest.mark.real("mosquitto")
@pytest.mark.threat("device-foreign-topics")
def test_broker_when_device_takes_anothers_client_id_then_the_other_stays_connected(
    broker: Broker, scratch: Path
) -> None:
    """The client id is the certificate's name: nobody throws another off by claiming its id."""
    with (
        connected(broker, scratch, "worker-1") as worker,
        connected(broker, scratch, DEVICE, client_id=DEVICE) as victim,
        connected(broker, scratch, OTHER, client_id=DEVICE),
    ):
        publish(worker, DEVICE, "order")
        wait_until(lambda: victim.messages, what="the order")
        assert victim.drops == []


@pytest.mark.real("mosquitto")
def test_broker_when_client_has_no_certificate_then_it_is_turned_away(broker: Broker) -> None:
    """Without a certificate under the root there is no connection."""
    context = ssl.create_default_context(cafile=str(broker.ca_file))
    with (
        socket.create_connection((broker.host, broker.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as stream,
        pytest.raises(ssl.SSLError, match="certificate required"),
    ):
        stream.recv(1)  # TLS 1.3 tells a client at its first read


@pytest.mark.real("mosquitto")
def test_broker_when_stopped_and_started_then_the_same_port_answers(broker: Broker) -> None:
    """A test can take the broker away and bring it back."""
    broker.stop()
    assert not is_listening(broker.port)
    broker.start()
    assert is_listening(broker.port)


@pytest.mark.real("postgres")
def test_postgres_when_database_is_made_then_it_is_empty_each_time(postgres_cluster: Postgres) -> None:
    """Each test that asks for a database gets an empty one."""
    postgres_cluster.new_database("mine")
    postgres_cluster.sql("CREATE TABLE t (n int)", "mine")
    postgres_cluster.new_database("mine")
    assert postgres_cluster.sql("SELECT count(*) FROM pg_tables WHERE tablename = 't'", "mine") == "0\n"


@pytest.mark.real("sshd", "ssh", "root")
def test_sshd_when_key_is_authorized_then_a_command_runs(programs: Programs, scratch: Path) -> None:
    """The plain sshd admits a key written into it, with its strict checks of files left on."""
    line = make_ssh_key(scratch / "key")
    sshd = start_sshd(programs, scratch / "sshd", [line], ["PermitRootLogin yes"])
    write_whole(scratch / "known_hosts", sshd.known_hosts())
    options = ["-F", "none", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={scratch}/known_hosts"]
    ran = run([require("ssh"), *options, "-i", scratch / "key", "-p", str(sshd.port), "root@127.0.0.1", "echo in"])
    assert (ran.returncode, ran.stdout) == (0, b"in\n"), ran.stderr.decode() + sshd.program.log_text()


@pytest.mark.real("root", "sudo")
def test_scratch_when_file_is_readable_then_another_user_reads_it(scratch: Path) -> None:
    """Other system users can reach a named file in the scratch folder, and cannot list the folder."""
    written = write_whole(scratch / "open", "content", 0o644)
    assert run(["/bin/cat", written], user="nobody").stdout == b"content"
    assert run(["/bin/ls", scratch], user="nobody").returncode != 0


def test_write_whole_when_umask_is_wide_then_mode_is_as_asked(scratch: Path) -> None:
    """A secret's file never has a wider mode than asked, whatever the umask."""
    before = os.umask(0)
    try:
        written = write_whole(scratch / "secret", b"x", 0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


def test_program_when_it_ends_early_then_waiting_fails_with_its_log(programs: Programs) -> None:
    """Who waits for a program that died learns at once, and reads why."""
    program = programs.start("/bin/sh", "-c", "echo cannot bind; exit 3")
    with pytest.raises(AssertionError, match="cannot bind"):
        program.wait_for(lambda: False, limit_s=20)


def test_program_when_it_ignores_the_request_then_it_is_ended_all_the_same(programs: Programs) -> None:
    """Nothing that a test started outlives it."""
    program = programs.start("/bin/sh", "-c", "trap '' TERM; echo ready; while :; do read x < /dev/zero; done")
    program.wait_for_log("ready")
    assert program.end(limit_s=0.2) == -9


def test_free_ports_when_several_are_asked_for_then_they_differ() -> None:
    """Ports named together are different ones."""
    assert len(set(free_ports(20))) == 20


def test_require_when_program_is_missing_then_the_skip_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing part is never silent: the skip says what to install."""
    monkeypatch.setattr(installed, "_SEARCH_PATH", "/nonexistent")
    with pytest.raises(pytest.skip.Exception, match="needs sshd: apt install openssh-server"):
        installed.require("sshd")
