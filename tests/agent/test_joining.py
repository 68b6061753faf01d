"""Joining, against a TLS server that answers as the console does."""

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pexpect
import pytest
from cryptography import x509
from doorward_protocol.joining import JoinLine, fingerprint_of, text_from_join, token_from_bytes
from doorward_protocol.signature import SigningKey

from tests.agent.scripted import new_id
from tests.parts.certificates import make_root
from tests.parts.files import write_whole

TOKEN = token_from_bytes(bytes(17))


@dataclass(slots=True)
class JoinServer:
    """Keeps what came, and answers with ``status`` and ``answer``."""

    line: str
    came: list[Mapping[str, Any]] = field(default_factory=list)
    bytes_read: list[int] = field(default_factory=list)
    status: int = 200
    answer: Mapping[str, Any] = field(default_factory=dict)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[JoinServer]:
    authority = make_root()
    credentials = authority.server()
    certificate, key = credentials.write(tmp_path, "console")
    device_ca = authority.intermediate("devices")
    joined: JoinServer

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            joined.came.append({"path": self.path, **request})
            chain = device_ca.client_from_csr(request["mqtt_csr"].encode(), "d-aaaaaaaaaaaaaaaa").decode()
            mqtt = {"host": "127.0.0.1", "port": 8883, "ca": authority.pem.decode(), "certificate": chain}
            body = json.dumps({**joined.answer, "mqtt": mqtt}).encode()
            self.send_response(joined.status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = False  # closing waits for those who still answer
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    address = f"https://127.0.0.1:{listener.server_port}"
    joined = JoinServer(text_from_join(JoinLine(address, TOKEN, fingerprint_of(credentials.leaf_der))))
    joined.answer = {
        "v": 1,
        "device": "d-aaaaaaaaaaaaaaaa",
        "project": new_id("p"),
        "name": "pump-7",
        "epoch": 0,
        "grant_keys": [SigningKey.generate().public],
        "record_keys": [SigningKey.generate().public],
        "door_host_certificate": "ssh-ed25519-cert-v01@openssh.com AAAA",
        "clock_at": 1,
    }
    yield joined
    listener.shutdown()
    listener.server_close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose runner keeps its pins in a file."""
    runner = write_whole(
        tmp_path / "runner",
        f'#!/bin/sh\ncase $1 in prepare) echo \'{{"door_host_key": "ssh-ed25519 AAAAhost"}}\';;\n'
        f"pin) echo $2 > {tmp_path}/pin-arguments; cat > {tmp_path}/pins;; esac\n",
        0o755,
    )
    return write_whole(
        tmp_path / "agent.toml",
        f'state_dir = "{tmp_path}/state"\nruntime_dir = "{tmp_path}/run"\nuser = "nobody"\nfirmware = "4.2"\n'
        f'runner_prepare_command = ["{runner}", "prepare"]\nrunner_pin_command = ["{runner}", "pin"]\n',
    )


def join(config: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "doorward_agent", "--config", str(config), "join", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)


def test_join_when_console_answers_then_keys_stay_and_pins_reach_the_runner(
    server: JoinServer, config: Path, tmp_path: Path
) -> None:
    """Joining sends public halves, keeps private ones with mode 0600, and lets the runner pin who may order."""
    done = join(config, server.line)
    assert done.returncode == 0, done.stderr
    assert "pump-7" in done.stdout
    came = server.came[0]
    assert came["path"] == "/api/join"
    assert came["token"] == TOKEN
    assert came["door_host_key"] == "ssh-ed25519 AAAAhost"
    assert came["facts"]["firmware"] == "4.2"
    assert "PRIVATE" not in json.dumps(came)
    state = tmp_path / "state"
    assert {path.stat().st_mode & 0o777 for path in state.iterdir()} == {0o600}
    assert state.stat().st_mode & 0o777 == 0o700
    assert {path.owner() for path in (state, *state.iterdir())} == {"nobody"}
    certificate = x509.load_pem_x509_certificate((state / "mqtt.pem").read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=d-aaaaaaaaaaaaaaaa"
    pins = json.loads((tmp_path / "pins").read_bytes())
    assert pins == {
        "device": "d-aaaaaaaaaaaaaaaa",
        "project": server.answer["project"],
        "grant_keys": server.answer["grant_keys"],
        "host_certificate": server.answer["door_host_certificate"],
    }


def test_join_when_run_by_a_person_then_it_asks_for_the_line_and_no_command_line_shows_its_token(
    server: JoinServer, config: Path
) -> None:
    """Everybody on the machine can read command lines (proc(5)), and shells keep them: the line is pasted where it asks."""
    argv = ["-m", "doorward_agent", "--config", str(config), "join"]
    person: pexpect.spawn[str] = pexpect.spawn(sys.executable, argv, encoding="utf-8", timeout=30, dimensions=(24, 80))
    person.expect_exact("Paste the join line from the device's page: ")
    person.sendline(server.line)
    person.expect_exact("Joined as pump-7")
    person.expect(pexpect.EOF)
    person.close()
    assert (person.exitstatus, server.came[0]["token"]) == (0, TOKEN)


@pytest.mark.parametrize("words", [[], ["-"]])
def test_join_when_the_line_comes_through_a_pipe_then_it_is_read_and_nothing_is_asked(
    server: JoinServer, config: Path, words: list[str]
) -> None:
    """A script gives it on standard input, and its output is what joining says."""
    argv = [sys.executable, "-m", "doorward_agent", "--config", str(config), "join", *words]
    done = subprocess.run(argv, input=f"{server.line}\n", capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, server.came[0]["token"]) == (0, TOKEN), done.stderr
    assert "Paste" not in done.stdout + done.stderr


def test_join_when_certificate_is_another_then_nothing_is_sent(server: JoinServer, config: Path) -> None:
    """A server with another certificate than the join string names gets no byte of the token."""
    line = server.line.rsplit(":", 1)[0] + ":" + "0" * 64
    done = join(config, line)
    assert done.returncode == 1
    assert "join.wrong-certificate" in done.stderr
    assert server.came == []


def test_join_when_already_joined_then_refuses_without_again(server: JoinServer, config: Path, tmp_path: Path) -> None:
    """A joined machine keeps its identity unless told otherwise, and then its new history begins at 1."""
    assert join(config, server.line).returncode == 0
    (tmp_path / "state" / "journal").mkdir()
    refused = join(config, server.line)
    assert refused.returncode == 1
    assert "--again" in refused.stderr
    assert len(server.came) == 1
    server.status, answer, server.answer = 403, server.answer, {"code": "join.bad-token"}
    assert join(config, "--again", server.line).returncode == 1
    assert (tmp_path / "state" / "journal").exists()  # what it has to tell its console waits there
    server.status, server.answer = 200, answer
    again = join(config, "--again", server.line)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "pin-arguments").read_text() == "--again\n"
    assert not (tmp_path / "state" / "journal").exists()


def test_join_when_console_says_no_then_its_code_and_next_step_are_shown(
    server: JoinServer, config: Path, tmp_path: Path
) -> None:
    """The console's reason code reaches the person with the next step, and the machine has not joined."""
    server.status = 403
    server.answer = {"code": "join.bad-token"}
    done = join(config, server.line)
    assert done.returncode == 1
    assert "join.bad-token" in done.stderr
    assert "Make a new join string" in done.stderr
    assert TOKEN not in done.stderr
    assert not (tmp_path / "state" / "identity.json").exists()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("doorward-join-1 https://127.0.0.1:1 " + TOKEN + " sha256:" + "0" * 64, "join.unreachable"),
        ("not a line", "join.malformed"),
    ],
)
def test_join_when_line_is_unusable_then_says_which_code(config: Path, line: str, code: str) -> None:
    """Every way in which joining fails has its code."""
    done = join(config, line)
    assert done.returncode == 1
    assert code in done.stderr


def test_join_when_runner_cannot_pin_then_machine_has_not_joined(
    server: JoinServer, config: Path, tmp_path: Path
) -> None:
    """Where the runner refuses to pin, no identity is left that an agent would run with."""
    write_whole(tmp_path / "runner", "#!/bin/sh\ncase $1 in prepare) echo '{}';; *) exit 1;; esac\n", 0o755)
    done = join(config, server.line)
    assert done.returncode == 1
    assert "runner.unavailable" in done.stderr
    assert not (tmp_path / "state" / "identity.json").exists()
