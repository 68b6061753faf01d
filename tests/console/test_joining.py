"""Joining: the token, what the device gets, and what everybody else gets."""

import base64
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from django.core.cache import cache
from django.db import connections
from django.test import AsyncClient
from django.utils import timezone
from doorward_console.edges.doorbell import Bell
from doorward_console.fleet.joining import JoinRefused, make_join_line
from doorward_console.fleet.models import Device, JoinToken
from doorward_console.history.models import Chain, Pending
from doorward_console.keys.making import ensure_worker_keys
from doorward_console.keys.opening import public_part
from doorward_console.maintenance.blocking import block
from doorward_console.people.models import Member, User
from doorward_console.signer import look
from doorward_protocol.joining import join_from_text, token_digest

from tests.console.conftest import ED25519_LINE, FOLDER, House, make_house
from tests.console.test_signing import new_signer
from tests.parts.certificates import make_root
from tests.parts.files import write_whole
from tests.parts.processes import Programs, run
from tests.parts.sshd import make_ssh_key

HERE = "203.0.113.7"


@pytest.fixture
def joinable(transactional_db: None) -> Iterator[House]:
    """A house whose device has been added and not joined, with a signer at work in a thread."""
    cache.clear()
    house = make_house()
    house.device.state, house.device.joined_at, house.device.tunnel_key = "added", None, ""
    house.device.save()
    root = make_root()
    server = root.server()
    write_whole(FOLDER / "tls_certificate", server.chain_pem)
    write_whole(FOLDER / "broker_ca", root.pem)
    ensure_worker_keys(house.project)
    signer, stop = new_signer(), threading.Event()
    look(signer)

    def sign() -> None:
        bell = Bell("signer")
        while not stop.is_set():
            look(signer)
            bell.wait(0.2)
        bell.close()
        connections["default"].close()

    thread = threading.Thread(target=sign, name="signer")
    thread.start()
    yield house
    stop.set()
    thread.join(10)


def csr(common_name: str = "worker-1") -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def request(token: str, **other: Any) -> dict[str, Any]:
    return {
        "v": 1, "token": token, "identity": base64.b64encode(b"i" * 32).decode(), "tunnel_key": ED25519_LINE,
        "door_host_key": ED25519_LINE, "mqtt_csr": csr(), "agent": "0.1.0", "facts": {"hostname": "press"},
    } | other  # fmt: skip


def post(body: Any) -> tuple[int, dict[str, Any]]:
    async def call() -> tuple[int, dict[str, Any]]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await AsyncClient().post("/api/join", data=raw, content_type="application/json", secure=True)
        return answer.status_code, json.loads(answer.content)

    result: tuple[int, dict[str, Any]] = async_to_sync(call)()
    return result


def token_for(house: House) -> str:
    return join_from_text(make_join_line(house.device, house.owner, HERE)).token


def test_join_when_token_is_good_then_certified_and_written_down(joinable: House) -> None:
    """A device that shows its token gets keys, certificates and the broker's address, and has a chain from then on."""
    status, answer = post(request(token_for(joinable)))
    assert status == 200, answer
    device = Device.objects.get(id=joinable.device.id)
    assert (answer["device"], answer["name"], device.state) == (device.id, "press 1", "joined")
    assert answer["grant_keys"] == [public_part("grant", joinable.project.id)]
    assert answer["record_keys"] == [public_part("record", joinable.project.id)]
    leaf, ca = x509.load_pem_x509_certificates(answer["mqtt"]["certificate"].encode())
    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == device.id  # not what the CSR says
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    leaf.verify_directly_issued_by(ca)
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert answer["door_host_certificate"].startswith("ssh-ed25519-cert-v01@openssh.com ")
    assert Chain.objects.get(author=f"device:{device.id}").public_key == device.identity_key
    assert Pending.objects.filter(verb="device.joined", device=device.id).exists()


@pytest.mark.threat("database-tokens")
def test_join_line_when_made_then_only_a_digest_is_kept(joinable: House) -> None:
    """The token is in no table; the line names address and certificate."""
    line = make_join_line(joinable.device, joinable.owner, HERE)
    token = join_from_text(line).token
    assert line.startswith("doorward-join-1 https://")
    kept = JoinToken.objects.get()
    assert kept.digest == token_digest(token)
    assert token not in str(JoinToken.objects.values().get())
    assert token not in str(list(Pending.objects.values()))


def test_join_when_token_was_used_then_the_same_no_as_for_a_wrong_one(joinable: House) -> None:
    """Used, wrong, expired and replaced tokens cannot be told apart."""
    used = token_for(joinable)
    assert post(request(used))[0] == 200
    assert post(request(used))[0] == 403
    replaced, expired = token_for(joinable), token_for(joinable)
    JoinToken.objects.filter(digest=token_digest(expired)).update(expires_at=timezone.now() - timedelta(seconds=1))
    answers = [post(request(token)) for token in (used, replaced, expired, "a" * 26)]
    assert {status for status, _ in answers} == {403}
    assert {json.dumps(answer) for _, answer in answers} == {json.dumps(answers[0][1])}
    assert answers[0][1]["code"] == "join.bad-token"


@pytest.mark.parametrize(
    "spoiled",
    [
        {"identity": "short"},
        {"tunnel_key": "not a key"},
        {"tunnel_key": None},
        {"door_host_key": "ssh-ed25519 AAAA"},
        {"facts": []},
        {"v": 2},
        {"agent": 3},
    ],
)
def test_join_when_malformed_then_refused_and_token_still_good(joinable: House, spoiled: dict[str, Any]) -> None:
    """What cannot be read is refused before the token is looked at, so a mistake does not cost it."""
    token = token_for(joinable)
    status, answer = post(request(token) | spoiled)
    assert (status, answer["code"]) == (400, "join.malformed")
    assert JoinToken.objects.filter(used_at__isnull=True).count() == 1


@pytest.mark.parametrize(
    "bad", ["no csr", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"]
)
def test_join_when_csr_is_none_then_signer_refuses(joinable: House, bad: str) -> None:
    """The signer judges the CSR, and answers at once."""
    status, answer = post(request(token_for(joinable), mqtt_csr=bad))
    assert (status, answer["code"]) == (400, "join.malformed")
    assert Device.objects.get().state == "added"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff" * 100, b'{"v":1,"v":1}'])
def test_join_when_not_json_then_refused(joinable: House, raw: bytes) -> None:
    """Bytes that are no JSON object get an answer like any other mistake."""
    assert post(raw)[0] == 400


def test_join_when_too_large_then_refused_unread(joinable: House) -> None:
    """A request beyond 32 KiB is not parsed."""
    assert post(request(token_for(joinable), facts={"a": "x" * 40_000}))[0] == 413


def test_join_when_tried_too_often_then_told_to_wait(joinable: House) -> None:
    """One address has thirty tries a minute."""
    answers = [post(b"{}")[0] for _ in range(31)]
    assert answers == [400] * 30 + [429]


def test_join_when_device_is_blocked_then_refused(joinable: House) -> None:
    """A token made before the block is worth nothing after it."""
    token = token_for(joinable)
    block(joinable.device, joinable.owner, HERE)
    assert post(request(token))[1]["code"] == "join.bad-token"


def test_join_when_history_was_signed_by_another_identity_then_refused(joinable: House) -> None:
    """A device comes back with its own identity; a stranger cannot go on in its history."""
    assert post(request(token_for(joinable)))[0] == 200
    Chain.objects.filter(author=f"device:{joinable.device.id}").update(n=3)
    token = token_for(joinable)
    stranger = base64.b64encode(b"j" * 32).decode()
    status, answer = post(request(token, identity=stranger))
    assert (status, answer["code"]) == (409, "join.other-identity")
    assert post(request(token))[0] == 200


@pytest.mark.parametrize("role", ["engineer", "viewer"])
def test_join_line_when_not_entitled_then_refused(joinable: House, role: str) -> None:
    """Only who manages devices makes join strings."""
    other = User.objects.create_user("kofi@example.com", "a long password 3")
    Member.objects.create(project=joinable.project, user=other, role=role)
    with pytest.raises(JoinRefused) as refused:
        make_join_line(joinable.device, other, HERE)
    assert refused.value.code == "signer.not-entitled"


def test_join_when_signer_is_away_then_says_so(house: House) -> None:
    """Without a signer the device is told that the console, not its token, is at fault."""
    from doorward_console.fleet.joining import join, request_from_json
    from doorward_console.keys.making import ensure_signer_keys

    cache.clear()
    Device.objects.update(state=Device.State.ADDED, joined_at=None)
    ensure_worker_keys(house.project)
    ensure_signer_keys(house.project, new_signer().keys.wrapping)
    write_whole(FOLDER / "tls_certificate", make_root().server().chain_pem)
    line = make_join_line(house.device, house.owner, HERE)
    body = request_from_json(json.dumps(request(join_from_text(line).token)).encode())
    with pytest.raises(JoinRefused) as refused:
        async_to_sync(join)(body, HERE, 0.1)
    assert refused.value.code == "join.refused"


@pytest.mark.real("ssh", "sshd")
def test_certificates_when_made_then_openssh_reads_what_was_meant(scratch: Path, programs: Programs) -> None:
    """ssh-keygen sees one principal, the session's end, permit-port-forwarding alone, and a host certificate for ever."""
    from doorward_console.keys.ssh import SshAuthority

    authority, now = SshAuthority.generate(), timezone.now()
    line = make_ssh_key(scratch / "tunnel")
    ends_at = now + timedelta(hours=2)
    session, device = "s-aaaaaaaaaaaaaaaa", "d-aaaaaaaaaaaaaaaa"
    user = authority.tunnel_certificate(line, device=device, principals=[session], now=now, ends_at=ends_at)
    host = authority.host_certificate(line, device=device)
    seen = {}
    for name, certificate in (("user", user), ("host", host)):
        write_whole(scratch / f"{name}-cert.pub", certificate + "\n")
        seen[name] = run(["/usr/bin/ssh-keygen", "-L", "-f", scratch / f"{name}-cert.pub"]).stdout.decode()
    assert "user certificate" in seen["user"]
    assert seen["user"].split("Principals:")[1].split("Critical")[0].split() == [session]
    assert seen["user"].split("Extensions:")[1].split() == ["permit-port-forwarding"]
    assert f"to {ends_at.astimezone().strftime('%Y-%m-%dT%H:%M:%S')}" in seen["user"]
    assert "host certificate" in seen["host"]
    assert "Valid: forever" in seen["host"]
