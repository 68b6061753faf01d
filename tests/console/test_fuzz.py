"""The worker hears anything that a broker lets through: it drops it and goes on, and the history stays whole."""

import pytest
from django.conf import settings
from django.utils import timezone
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.history.models import Chain
from doorward_console.keys.making import ensure_worker_keys
from doorward_console.keys.opening import WorkerKeys
from doorward_console.worker import hearing
from doorward_protocol.ids import DeviceId
from hypothesis import given
from hypothesis import strategies as st

from tests.console.conftest import House
from tests.fuzz.shapes import VECTORS, messages_like, patient
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
