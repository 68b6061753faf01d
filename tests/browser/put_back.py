"""Settings that cut a device off and were put back by itself, as the history tells it: asked at the console, the rest in the device's own chain."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from doorward_console.fleet.models import Device
from doorward_console.history import inbox
from doorward_console.history.models import Chain
from doorward_console.history.writing import note
from doorward_protocol.ids import DeviceId
from doorward_protocol.records import Fact, Head, Moment, head_after, next_payload
from doorward_protocol.signature import SigningKey

from tests.browser.story import HERE, at
from tests.console.conftest import House

TRIED = timedelta(minutes=3)
ABOUT = {"epoch": 0, "revision": 2, "digest": "sha256:" + "5f" * 32}


def tell(house: House, device: Device, when: datetime) -> None:
    """Let the owner ask for another gateway at ``when``, and the device be back three minutes later with the old one."""
    with at(when):
        asked = {"by": house.owner.email, "from": HERE, "paths": ["/network/gateway"], "count": 1}
        note(house.project, "settings.asked", device=device.pk, data=asked)
    begins = when + timedelta(seconds=1)
    _says(
        house,
        device,
        (begins, "settings.begun", {**ABOUT, "code": None}),
        (begins + timedelta(seconds=1), "settings.trying", {**ABOUT, "code": None, "said": ""}),
        (begins + TRIED, "settings.reverted", {**ABOUT, "code": "settings.unconfirmed", "said": ""}),
    )


def _says(house: House, device: Device, *facts: tuple[datetime, str, Mapping[str, Any]]) -> None:
    """Let the device's signed records arrive, each at its time."""
    key, head, author = SigningKey.generate(), Head(), f"device:{device.pk}"
    Chain.objects.create(project=house.project, author=author, public_key=key.public, since=device.joined_at)
    for when, verb, data in facts:
        moment = Moment(int(when.timestamp() * 1000), "b" * 32, 1000)
        payload = next_payload(author, head, moment, Fact(verb, None, DeviceId(device.pk), dict(data)), {})
        head = head_after(payload, head)
        taken = inbox.take(author, [key.seal("record", payload)], when)
        assert len(taken.joined) == 1, taken
