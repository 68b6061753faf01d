"""Configuration files that are not TOML or not text, what a console answers to a join, and what the runner is given to pin."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from doorward_agent.config import config_from_file as agent_config
from doorward_agent.edges.console import _answer as join_answer
from doorward_agent.edges.console import post_join
from doorward_agent.errors import ConfigError as AgentFault
from doorward_agent.errors import JoinFailed
from doorward_agent.identity import identity_from_document
from doorward_console.config import ConfigError as ConsoleFault
from doorward_console.config import config_from_file as console_config
from doorward_protocol.fields import Malformed
from doorward_protocol.joining import join_from_text
from doorward_protocol.signature import SigningKey
from doorward_relay.config import ConfigError as RelayFault
from doorward_relay.config import config_from_text
from doorward_runner.config import config_from_file as runner_config
from doorward_runner.edges.memory import Memory
from doorward_runner.errors import ConfigError as RunnerFault
from doorward_runner.joining import CannotPin, pin
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.shapes import NASTY, messages_like, messages_otherwise, only_refuses, patient, texts_like
from tests.relay.relaying import SshCa

pytestmark = pytest.mark.feature("E9")
EXAMPLES: Final = Path(__file__).parents[2] / "examples"
KEY: Final = SigningKey.generate().public
ANSWER: Final = json.dumps(
    {
        "v": 1, "device": "d-aaaaaaaaaaaaaaaa", "project": "p-aaaaaaaaaaaaaaaa", "name": "press", "grant_keys": [KEY],
        "record_keys": [KEY], "mqtt": {"host": "broker.example.com", "port": 8883, "ca": "x", "chain": "x"},
        "host_certificate": "ssh-ed25519-cert-v01@openssh.com AAAA",
    }
).encode()  # fmt: skip

PUBLIC_LINE: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDUaYnQVMAiyX1b1tKjWFMwJ2RB1rd8sQvYB8TCF0cZk"
USER_CERTIFICATE: Final = SshCa().certify(PUBLIC_LINE, ["d-aaaaaaaaaaaaaaaa"])


def answer_with(host_certificate: str | None) -> bytes:
    return json.dumps({**json.loads(ANSWER), "host_certificate": host_certificate}).encode()


FILES: Final[Mapping[str, Callable[[Path], object]]] = {
    "agent.toml": agent_config,
    "runner.toml": runner_config,
    "relay.toml": lambda path: config_from_text(path.read_text(encoding="utf-8")),
    "console.toml": console_config,
}
FAULTS: Final = (AgentFault, RunnerFault, RelayFault, ConsoleFault)


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@patient
def test_config_file_when_it_holds_anything_then_it_is_read_or_its_fault_is_told(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    """A file that an editor cut, doubled or saved in another encoding ends in a sentence, never in a traceback."""
    sample = (EXAMPLES / name).read_text(encoding="utf-8")
    content = data.draw(
        texts_like([sample]).map(lambda text: text.encode(errors="surrogatepass")) | st.binary(max_size=80)
    )
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    unreadable = (UnicodeDecodeError,) if name == "relay.toml" else ()  # the test's own read
    only_refuses(lambda: FILES[name](path), *FAULTS, *unreadable)


def joined(raw: bytes, status: int = 200) -> Any:
    return identity_from_document(join_answer(status, raw))


@pytest.mark.parametrize("status", [200, 403])
def test_join_answer_when_any_place_of_it_holds_something_else_then_the_machine_joins_or_says_why_not(
    status: int,
) -> None:
    """Each place in turn, of a yes and of a no."""
    for raw in messages_otherwise([ANSWER, b'{"code": "join.bad-token"}']):
        only_refuses(partial(joined, raw, status), JoinFailed, Malformed)


@pytest.mark.parametrize("status", [200, 403, 503])
@given(raw=messages_like([ANSWER]))
@patient
def test_join_answer_when_it_is_anything_then_the_machine_joins_or_says_why_not(status: int, raw: bytes) -> None:
    """Whoever answers at the console's address, also something that is no console."""
    only_refuses(lambda: joined(raw, status), JoinFailed, Malformed)


@pytest.mark.parametrize("address", ["https://", "https://[::1", "https://a:99999", "https://a:b", "https://a\u2100b"])
def test_join_when_the_lines_address_is_none_then_it_says_so(address: str) -> None:
    """Whoever pasted it badly reads where to look, and no traceback."""
    line = join_from_text(f"doorward-join-1 {address} {'a' * 26} sha256:{'0' * 64}")
    with pytest.raises(JoinFailed, match="address"):
        post_join(line, {})


@pytest.mark.parametrize("raw", NASTY, ids=range(len(NASTY)))
def test_join_answer_when_it_is_what_others_stumbled_over_then_it_says_why_not(raw: bytes) -> None:
    """Deep nesting, numbers without bound, half characters."""
    only_refuses(lambda: joined(raw), JoinFailed, Malformed)


def test_runner_when_any_place_of_what_it_is_given_to_pin_holds_something_else_then_it_pins_or_refuses(
    tmp_path: Path,
) -> None:
    """Each place in turn; without a certificate, with what is none, with a key instead of one, and with one of a user."""
    memory = Memory(tmp_path)
    pin(memory, answer_with(None), is_again=True)
    assert memory.pins() is not None
    for raw in (ANSWER, *map(answer_with, (None, PUBLIC_LINE, USER_CERTIFICATE))):
        only_refuses(partial(pin, memory, raw, is_again=True), CannotPin)
        for other in messages_otherwise([raw]):
            only_refuses(partial(pin, memory, other, is_again=True), CannotPin)


@given(raw=messages_like([ANSWER]) | st.sampled_from(NASTY))
@patient
def test_runner_when_it_is_given_anything_to_pin_then_it_pins_or_refuses(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    """Root's half trusts the agent with nothing, at joining neither."""
    only_refuses(lambda: pin(Memory(tmp_path_factory.getbasetemp()), raw, is_again=True), CannotPin)
