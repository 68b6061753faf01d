"""The worker hears anything that a broker lets through: it drops it and goes on, and the history stays whole."""

import json

import pytest
from django.conf import settings
from django.utils import timezone
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.edges.relay_client import RelayAway, RelayRefused, _document, _paired, _read
from doorward_console.fleet.joining import JoinRefused, request_from_json
from doorward_console.history.models import Chain
from doorward_console.keys.making import ensure_worker_keys
from doorward_console.keys.opening import WorkerKeys
from doorward_console.worker import hearing
from doorward_protocol.ids import DeviceId
from doorward_protocol.signature import SigningKey
from hypothesis import given
from hypothesis import strategies as st

from tests.console.conftest import ED25519_LINE, House
from tests.fuzz.shapes import NASTY, VECTORS, messages_like, only_refuses, patient
from tests.worlds.scripted_device import ScriptedDevice

SAMPLES = [one["raw"].encode() for kind in ("asks", "records") for one in VECTORS[kind]]


@pytest.mark.feature("E9")
@pytest.mark.timeout(3600)
def test_worker_when_anything_comes_from_a_device_then_it_goes_on_and_stores_what_is_good(house: House) -> None:
    """Whatever came before, on whichever topic, the device's next good record joins its chain."""
    device = ScriptedDevice(DeviceId(house.device.pk))
    author = f"device:{device.device}"
    Chain.objects.create(project=house.project, author=author, public_key=device.key.public)
    keys = WorkerKeys(wrapping_key_from_file(settings.CONFIG.worker_key))
    ensure_worker_keys(house.project, keys.wrapping)
    own = SAMPLES[0].replace(b"d-cfduyrwmysulqlu7", device.device.encode())
    joined = 0

    @given(st.lists(messages_like([*SAMPLES, own]), max_size=4))
    @patient
    def hear(messages: list[bytes]) -> None:
        nonlocal joined
        now = timezone.now()
        for raw in messages:
            hearing.hear_asks({device.device: [raw]}, now)
            hearing.hear_presence(device.device, raw, now)
        hearing.hear_records(author, [*messages, device.record("agent.started")], keys, lambda _: None, now)
        joined += 1
        chain = Chain.objects.get(author=author)
        assert (chain.n, chain.broken) == (joined, "")

    hear()


REQUEST = json.dumps(
    {"v": 1, "token": "a" * 26, "identity": SigningKey.generate().public, "tunnel_key": ED25519_LINE, "door_host_key": None,
     "mqtt_csr": "-----BEGIN CERTIFICATE REQUEST-----", "agent": "0.1.0", "facts": {"hostname": "press"}}
).encode()  # fmt: skip


@pytest.mark.feature("E9")
@given(messages_like([REQUEST]) | st.sampled_from(NASTY))
@patient
def test_join_request_when_it_is_anything_then_it_is_read_or_refused(raw: bytes) -> None:
    """Anybody may send one: there is no session and no cookie before the token."""
    only_refuses(lambda: request_from_json(raw), JoinRefused)


PAIRED = json.dumps(
    {"record_key": "a" * 44, "version": "0.1.0", "ssh_host_keys": [ED25519_LINE], "ssh_port": 2222, "tunnel_user": "t",
     "ports": [1024, 65_535], "clock_at": 1, "kind": "managed"}
).encode()  # fmt: skip


@pytest.mark.feature("E9")
@pytest.mark.parametrize("status", [200, 409, 500])
@given(raw=messages_like([PAIRED]) | st.sampled_from(NASTY))
@patient
def test_relays_answer_when_it_is_anything_then_the_worker_reads_it_or_calls_the_relay_away(
    status: int, raw: bytes
) -> None:
    """A relay in somebody's hands can cut itself off, and nothing more."""

    def read() -> None:
        with _read():
            _paired(_document(status, raw))

    only_refuses(read, RelayAway, RelayRefused)
