"""Bad days of a real agent process: killed, restarted, cut off, old certificates, a second instance."""

import ipaddress
import re
import signal
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from doorward_protocol.revisions import Revision

from tests.agent.conftest import Scene
from tests.agent.scripted import now_ms, port_of_door, tunnel_children
from tests.agent.tunnels import TUNNELS
from tests.parts.certificates import key_pem
from tests.parts.files import write_whole
from tests.parts.ports import is_listening
from tests.parts.processes import run
from tests.parts.waiting import wait_until

over_both = pytest.mark.parametrize("tunnel", TUNNELS)
BANNER = b"SSH-2.0-Door\r\n"


@pytest.mark.feature("E9")
@over_both
def test_agent_when_killed_while_open_then_tunnel_dies_and_a_restart_opens_the_same_session(running: Scene) -> None:
    """kill -9 frees the relay's port; the next agent finds the door, asks, and brings the session back."""
    console = running.console
    body = running.open()
    assert running.agent is not None
    running.agent.kill()
    wait_until(lambda: not is_listening(console.port))
    running.start_agent()
    asked = len(console.asks)
    console.next_ask(asked, lambda ask: ask.door.session == body.session)
    console.publish(console.order(body, revision=Revision(0, console.revision)))
    console.wait_for_state("OPEN")
    assert port_of_door(console.port) == BANNER
    assert "close" not in running.runner.verbs


@over_both
def test_agent_when_asked_to_end_then_children_end_and_the_door_is_left_to_its_closer(running: Scene) -> None:
    """SIGTERM ends the tunnel, says away, and leaves the session to the agent that starts next."""
    running.open()
    assert running.agent is not None
    (child,) = tunnel_children(running.agent.pid)
    assert running.agent.end() == 0
    assert not Path(f"/proc/{child}").exists()
    wait_until(lambda: running.console.presence[-1] == "away")
    assert running.runner.verbs == ["order"]


@over_both
def test_broker_when_it_goes_away_while_open_then_the_door_stays_and_the_link_comes_back(running: Scene) -> None:
    """Losing the broker shuts nothing; the agent dials again by itself and obeys OFF."""
    body = running.open()
    running.broker.stop()
    wait_until(lambda: running.status()["link"] != "ONLINE", what="the loss")
    assert port_of_door(running.console.port) == BANNER
    running.broker.start()
    wait_until(lambda: running.status()["link"] == "ONLINE", 30, "the link")
    running.console.shut(body.session)
    running.console.wait_for_state("SHUT", 20)


def test_broker_when_it_goes_away_again_and_again_then_no_descriptor_or_thread_is_left(running: Scene) -> None:
    """Each connection leaves nothing behind."""
    assert running.agent is not None
    process = Path(f"/proc/{running.agent.pid}")

    def held() -> tuple[int, int]:
        return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))

    before = held()
    for _ in range(3):
        running.broker.stop()
        wait_until(lambda: running.status()["link"] != "ONLINE", what="the loss")
        running.broker.start()
        wait_until(lambda: running.status()["link"] == "ONLINE", 30, "the link")
    wait_until(lambda: held() <= before, what=f"{before}")


@pytest.mark.threat("ends-device-alone")
@over_both
def test_session_when_its_end_comes_then_the_device_shuts_without_an_order(running: Scene) -> None:
    """The end is the device's own business."""
    body = running.open(ends_at=now_ms() + 3_000)
    running.console.wait_for_state("SHUT", 15)
    assert port_of_door(running.console.port) == b""
    wait_until(lambda: "door.closed" in running.console.verbs())
    closing = [record.fact for record in running.console.records if record.fact.verb == "door.closing"]
    assert closing[0].session == body.session
    assert closing[0].data == {"code": "session.expired"}


@over_both
def test_tunnel_when_it_breaks_then_it_comes_back_with_the_same_door(running: Scene) -> None:
    """A tunnel that dies is dialled again; the runner is not called for it."""
    running.open()
    assert running.agent is not None
    (child,) = tunnel_children(running.agent.pid)
    run(["/bin/kill", "-9", str(child)])
    wait_until(lambda: "door.lost" in running.console.verbs())
    wait_until(lambda: port_of_door(running.console.port) == BANNER)
    assert running.runner.verbs == ["order"]
    agent = running.agent.pid
    wait_until(lambda: len(tunnel_children(agent)) == 1, what="the dead child to be gone")


def test_runner_when_it_fails_then_the_order_signed_again_opens(running: Scene) -> None:
    """A runner that is busy gets the order again, with fresh nonces."""
    running.runner.refuse_with.put("runner.busy")
    body = running.open_body()
    running.console.publish(running.console.order(body))
    ask = running.console.next_ask(what=lambda ask: ask.door.code == "runner.busy")
    assert ask.door.state == "RETRYING"
    running.console.wait_for_state("OPENING")
    running.console.publish(running.console.order(body, revision=Revision(0, running.console.revision)))
    running.console.wait_for_state("OPEN")


@pytest.mark.parametrize(("from_years", "to_years"), [(-20, -10), (10, 20)])
def test_link_when_the_years_do_not_fit_the_certificate_then_it_connects(
    scene: Scene, from_years: int, to_years: int
) -> None:
    """A device that is ten years off, either way, still verifies the broker against the pinned CA."""
    show_server_certificate(scene, "127.0.0.1", from_years, to_years)
    scene.start_agent()
    wait_until(lambda: scene.status().get("link") == "ONLINE", 15, "the link")


def test_link_when_certificate_names_another_host_then_it_does_not_connect(scene: Scene) -> None:
    """Leaving dates unchecked leaves the name checked."""
    show_server_certificate(scene, "elsewhere.example.com", -1, 1)
    scene.start_agent()
    wait_until(lambda: "BrokerLost" in scene.log(), 15, "the refusal")
    assert scene.status()["link"] != "ONLINE"


def show_server_certificate(scene: Scene, name: str, from_years: int, to_years: int) -> None:
    """Let the broker show a certificate for ``name`` with these dates."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(timezone.utc)
    root = scene.broker.root
    names: list[x509.GeneralName] = (
        [x509.DNSName(name)] if name[-1].isalpha() else [x509.IPAddress(ipaddress.ip_address(name))]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(root.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=365 * from_years))
        .not_valid_after(now + timedelta(days=365 * to_years))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(root.key, hashes.SHA256())
    )
    scene.console.stop()
    scene.broker.stop()
    write_whole(scene.broker.folder / "server.crt", certificate.public_bytes(serialization.Encoding.PEM))
    write_whole(scene.broker.folder / "server.key", key_pem(key), 0o600)
    scene.broker.start()


def test_agent_when_idle_then_no_signature_library_is_in_memory(running: Scene) -> None:
    """A real agent process has not loaded cryptography, before its first order or after: TLS has brought what it needs."""
    assert running.agent is not None
    maps = Path(f"/proc/{running.agent.pid}/maps")
    running.console.publish(b"", "receipt")
    running.console.receipt(0)  # a console says so to every ask of a device with unsent records
    running.console.publish(b"rubbish")
    wait_until(lambda: "order.not-an-envelope" in running.log())
    assert "cryptography" not in maps.read_text()
    running.open()
    assert "cryptography" not in maps.read_text()


@over_both
def test_agent_when_it_logs_then_no_secret_is_among_it(running: Scene) -> None:
    """Keys, nonces and payloads stay out of the log and the argument lists."""
    body = running.open()
    assert running.agent is not None
    (child,) = tunnel_children(running.agent.pid)
    seen = running.log() + Path(f"/proc/{child}/cmdline").read_text()
    ask = running.console.asks[-1]
    for secret in (
        ask.nonce,
        ask.runner_nonce,
        body.relays[0].certificate.split(" ")[1],
        body.login.authorized_keys[0],
    ):
        assert secret is not None
        assert secret not in seen
    assert not re.search("PRIVATE KEY", seen)


def test_agent_when_stopped_by_interrupt_then_ends_with_zero(running: Scene) -> None:
    """Ctrl-C is an ordinary end."""
    assert running.agent is not None
    running.agent.signal(signal.SIGINT)
    assert running.agent.process.wait(10) == 0
