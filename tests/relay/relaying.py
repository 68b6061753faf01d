"""A real relay on loopback, managed or embedded, the console that it is paired with, and devices that dial it with the ssh client."""

import base64
import json
import secrets
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_public_key,
)
from doorward_protocol.asked import Asked
from doorward_protocol.envelope import decode
from doorward_protocol.grants import Grant, GrantedForward, payload_from_grant
from doorward_protocol.ids import DeviceId, ProjectId, RelayId, SessionId, id_from_bytes
from doorward_protocol.joining import PairingLine, pairing_from_text
from doorward_protocol.records import Record, record_from_payload
from doorward_protocol.revisions import Revision
from doorward_protocol.signature import KeyRing, SigningKey
from doorward_relay.edges import kernel
from doorward_relay.view import listening_on

from tests.parts.certificates import Credentials, make_root
from tests.parts.files import write_whole
from tests.parts.installed import require
from tests.parts.ports import free_port
from tests.parts.processes import PLAIN_ENVIRONMENT, Program, Programs, run
from tests.parts.waiting import wait_until

TUNNEL_USER = "doorward-tunnel"
MANAGED, EMBEDDED = KINDS = ("managed", "embedded")
of_managed = pytest.mark.parametrize("kind", [MANAGED], indirect=True)
"""For what can happen beside an OpenSSH alone: its own life, its files, its helper."""
of_embedded = pytest.mark.parametrize("kind", [EMBEDDED], indirect=True)
"""For what one process promises beyond that."""
PROGRAM = Path(__file__).parents[2] / ".venv" / "bin" / "doorward-relay"


def new_id(kind: str) -> str:
    return id_from_bytes(kind, secrets.token_bytes(10))


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class SshCa:
    """An SSH certificate authority; builds what the signer builds, and what it never would."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public_line(self) -> str:
        return (
            self.key.public_key()
            .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
            .decode()
        )

    def certify(
        self,
        public_line: str,
        principals: Sequence[str],
        *,
        valid_s: tuple[int, int] = (-300, 3600),
        kind: SSHCertificateType = SSHCertificateType.USER,
        extensions: Sequence[str] = ("permit-port-forwarding",),
    ) -> str:
        """Certify a key; without principals the certificate is for all of them."""
        key = load_ssh_public_key(public_line.encode())
        now = int(time.time())
        builder = SSHCertificateBuilder().public_key(key).type(kind).key_id(b"test").serial(1)  # type: ignore[arg-type]
        builder = builder.valid_after(now + valid_s[0]).valid_before(now + valid_s[1])
        names = [name.encode() for name in principals]
        builder = builder.valid_principals(names) if names else builder.valid_for_all_principals()  # type: ignore[no-untyped-call]
        for extension in extensions if kind is SSHCertificateType.USER else ():
            builder = builder.add_extension(extension.encode(), b"")
        return builder.sign(self.key).public_bytes().decode()


@dataclass(slots=True)
class Relay:
    """One installed relay; ``daemon`` and ``sshd`` run apart, as under systemd. An embedded one is its daemon alone."""

    kind: str
    programs: Programs
    folder: Path
    ssh_port: int
    control_port: int
    ports: range
    line: PairingLine
    daemon: Program | None = None
    sshd: Program | None = None

    @property
    def config_file(self) -> Path:
        return self.folder / "relay.toml"

    @property
    def verb(self) -> str:
        return "run" if self.kind == MANAGED else "serve"

    def start(self) -> None:
        if self.kind == MANAGED:
            self.start_sshd()
        self.start_daemon()

    def start_sshd(self) -> Program:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.folder / "state/sshd/sshd_config"
        west = {**PLAIN_ENVIRONMENT, "TZ": "America/New_York"}  # where a time without Z would be hours later
        self.sshd = self.programs.start(require("sshd"), "-D", "-e", "-f", config, name="relay-sshd", env=west)
        self.sshd.wait_for_port(self.ssh_port)
        return self.sshd

    def start_daemon(self, *arguments: str) -> Program:
        self.daemon = self.programs.start(PROGRAM, self.verb, "--config", self.config_file, *arguments, name="relay")
        self.daemon.wait_for_port(self.control_port)
        if self.kind == EMBEDDED:
            self.daemon.wait_for_port(self.ssh_port)
        return self.daemon

    def admits(self, session: str) -> bool:
        """Whether a managed relay's sshd would let a session in; an embedded one has no file that says so."""
        return self.kind == MANAGED and session in (self.folder / "run/principals").read_text()

    def command(self, *arguments: str) -> tuple[int, str, str]:
        ran = run([PROGRAM, *arguments, "--config", self.config_file])
        return ran.returncode, ran.stdout.decode(), ran.stderr.decode()

    def known_hosts(self) -> str:
        return f"[127.0.0.1]:{self.ssh_port} {self.line.ssh_host_key}\n"


def install_relay(programs: Programs, folder: Path, ports: range, kind: str = MANAGED) -> Relay:
    """Install a relay into ``folder`` with the real command."""
    folder.mkdir(mode=0o711, exist_ok=True)
    ssh_port, control_port = free_port(), free_port()
    config = folder / "relay.toml"
    ran = run(
        [
            PROGRAM, "install", "--config", config, "--host", "127.0.0.1", "--listen", "127.0.0.1",
            "--ssh-port", str(ssh_port), "--control-port", str(control_port), "--ports", f"{ports[0]}-{ports[-1]}",
            "--state-dir", folder / "state", "--run-dir", folder / "run", "--tunnel-user", TUNNEL_USER, "--yes",
            *(["--embedded"] if kind == EMBEDDED else []),
        ]
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr.decode()
    line = pairing_from_text(ran.stdout.decode().strip().splitlines()[-1])
    return Relay(kind, programs, folder, ssh_port, control_port, ports, line)


@dataclass(slots=True)
class Console:
    """What a console holds, and its calls to one relay over the real control API."""

    relay: Relay
    folder: Path
    project: ProjectId = field(default_factory=lambda: ProjectId(new_id("p")))
    relay_id: RelayId = field(default_factory=lambda: RelayId(new_id("r")))
    grant_key: SigningKey = field(default_factory=SigningKey.generate)
    record_key: SigningKey = field(default_factory=SigningKey.generate)
    tunnel_ca: SshCa = field(default_factory=SshCa)
    client: Credentials = field(default_factory=lambda: make_root().client("worker-1"))
    seq: int = 0
    epoch: int = 0
    introduced: Mapping[str, Any] = field(default_factory=dict)

    def context(self, client: Credentials | None = None) -> ssl.SSLContext:
        """TLS that trusts the relay's certificate alone and shows ``client``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.relay.folder / "state/tls.crt")
        if client is not None:
            context.load_cert_chain(*client.write(self.folder, secrets.token_hex(4)))
        return context

    def http(self, client: Credentials | None = None) -> httpx.Client:
        """A client that speaks over such TLS."""
        url = f"https://127.0.0.1:{self.relay.control_port}"
        return httpx.Client(base_url=url, verify=self.context(client), timeout=40)

    def pairing_document(self, token: str | None = None) -> dict[str, Any]:
        leaf = self.client.chain_pem.decode()
        return {
            "token": token or self.relay.line.token,
            "relay": self.relay_id,
            "project": self.project,
            "epoch": self.epoch,
            "client_certificate": leaf,
            "grant_key": self.grant_key.public,
            "record_key": self.record_key.public,
            "tunnel_ca": self.tunnel_ca.public_line,
        }

    def pair(self) -> Mapping[str, Any]:
        with self.http() as http:
            answer = http.post("/v1/pair", json=self.pairing_document())
        assert answer.status_code == 200, answer.text
        self.introduced = answer.json()
        assert self.get("/healthz").status_code == 200, "the next call is one with a certificate"
        return self.introduced

    def get(self, path: str, **query: Any) -> httpx.Response:
        with self.http(self.client) as http:
            return http.get(path, params=query)

    def call(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> httpx.Response:
        with self.http(self.client) as http:
            return http.request(method, path, json=dict(document or {}))

    def grant(self, port: int, *, lasts_s: float = 600, bind: str = "*", **changes: Any) -> Grant:
        """Make a grant with the next sequence."""
        self.seq += 1
        made = Grant(
            project=self.project,
            relay=self.relay_id,
            sequence=Revision(self.epoch, self.seq),
            session=SessionId(new_id("s")),
            device=DeviceId(new_id("d")),
            issued_at=now_ms(),
            ends_at=now_ms() + round(lasts_s * 1000),
            forwards=(GrantedForward("ssh", bind, port),),
            banner=base64.b32encode(secrets.token_bytes(10)).decode().lower(),
            asked=Asked("aiko@example.com", now_ms(), "ticket 4711"),
        )
        return replace(made, **changes)

    def envelope(self, grant: Grant) -> Any:
        return json.loads(self.grant_key.seal("grant", payload_from_grant(grant)))

    def put(self, grant: Grant) -> httpx.Response:
        return self.call("PUT", f"/v1/grants/{grant.session}", {"grant": self.envelope(grant)})

    def granted(self, port: int, **changes: Any) -> Grant:
        """Put a grant and see it accepted."""
        grant = self.grant(port, **changes)
        answer = self.put(grant)
        assert answer.status_code == 200, answer.text
        return grant

    def end(self, session: str, why: str = "turned off") -> httpx.Response:
        self.seq += 1
        body = {"epoch": self.epoch, "seq": self.seq, "why": why}
        return self.call("POST", f"/v1/grants/{session}/end", body)

    def records(self, after: int = 0) -> list[Record]:
        """Give the relay's records after the ``after``-th, page by page, signatures checked."""
        found = list[Record]()
        while page := self._page(after):
            found += page
            after = page[-1].head.n
        return found

    def _page(self, after: int, **query: int) -> list[Record]:
        ring = KeyRing([self.introduced["record_key"]])
        page = self.get("/v1/records", after=after, **query).json()["records"]
        raws = (ring.verify(decode(json.dumps(one).encode(), expected="record")) for one in page)
        return [record_from_payload(raw) for raw in raws]

    def verbs(self, session: str | None = None) -> list[str]:
        return [one.fact.verb for one in self.records() if session is None or one.fact.session == session]

    def wait_for_verb(self, verb: str, session: str | None = None, limit_s: float = 10) -> Record:
        """Wait for a record; each is read once, for there may be thousands, and news are waited for at the relay."""
        after = 0

        def found() -> Record | None:
            nonlocal after
            page = self._page(after, wait=1)
            after = page[-1].head.n if page else after
            matching = (one for one in page if one.fact.verb == verb)
            return next((one for one in matching if session is None or one.fact.session == session), None)

        there = wait_until(found, limit_s, f"the record {verb}")
        assert there is not None
        return there


@dataclass(slots=True)
class Device:
    """Dials a relay with the ssh client, with a key of its own and a certificate for one session."""

    relay: Relay
    folder: Path
    certificate: str
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    user: str = TUNNEL_USER

    @property
    def control(self) -> Path:
        return self.folder / f"{self.name}.sock"

    def options(self, known_hosts: str | None = None) -> list[str | Path]:
        write_whole(self.folder / f"{self.name}.hosts", known_hosts or self.relay.known_hosts())
        write_whole(self.folder / f"{self.name}-cert.pub", self.certificate)
        return [
            "-F", "none", "-p", str(self.relay.ssh_port), "-i", str(self.folder / "device_key"),
            "-o", f"CertificateFile={self.folder / f'{self.name}-cert.pub'}",
            "-o", f"UserKnownHostsFile={self.folder / f'{self.name}.hosts'}",
            "-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes",
            "-o", "IdentityAgent=none", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes",
            "-o", "ConnectTimeout=8", "-o", "KexAlgorithms=curve25519-sha256",
        ]  # fmt: skip

    @property
    def target(self) -> str:
        return f"{self.user}@127.0.0.1"

    def dial(self) -> Program:
        """Connect as a master without any forward and wait until it is there."""
        started = self.relay.programs.start(
            require("ssh"), "-N", "-M", "-S", self.control, *self.options(), self.target, name="device-ssh"
        )
        started.wait_for(lambda: self.ask("check") == 0, 10, "a connection")
        return started

    def ask(self, what: str, *more: str) -> int:
        argv: list[str | Path] = [require("ssh"), "-F", "none", "-S", self.control, "-O", what, *more, self.target]
        return run(argv).returncode

    def forward(self, port: int, to: int, bind: str = "*") -> int:
        return self.ask("forward", "-R", f"{bind}:{port}:127.0.0.1:{to}")

    def hello(self) -> dict[str, Any]:
        ran = run([require("ssh"), "-F", "none", "-S", self.control, self.target, "hello"])
        document: dict[str, Any] = json.loads(ran.stdout)
        return document

    def attempt(self, *arguments: str, known_hosts: str | None = None, limit_s: float = 20) -> Any:
        """Run ssh to its end with more arguments."""
        argv: list[str | Path] = [require("ssh"), *self.options(known_hosts), *arguments]
        return run(argv, limit_s=limit_s)


def device_for(relay: Relay, console: Console, folder: Path, session: str, **certifying: Any) -> Device:
    """Make a device with a certificate for ``session``."""
    key = folder / "device_key"
    if not key.exists():
        made = run([require("ssh").with_name("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", key])
        assert made.returncode == 0, made.stderr
    public = (folder / "device_key.pub").read_text()
    return Device(
        relay, folder, console.tunnel_ca.certify(public, certifying.pop("principals", [session]), **certifying)
    )


def listeners_on(*ports: int) -> list[str]:
    """Name the addresses at which somebody listens on these TCP ports, by the kernel's tables."""
    return [one.address for one in listening_on(kernel.sockets(), ports)]
