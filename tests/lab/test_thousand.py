"""A relay with many devices on it is killed: the quick form of what ``make soak`` does with a thousand."""

import json
import sys

import pytest

from tests.house.machine import CHECKOUT
from tests.parts.installed import missing
from tests.parts.processes import PLAIN_ENVIRONMENT, run
from tests.relay.relaying import EMBEDDED, MANAGED

NEEDED = {MANAGED: ("root", "sshd", "useradd"), EMBEDDED: ("root",)}


@pytest.mark.timeout(120)
@pytest.mark.feature("E9", "B17")
@pytest.mark.parametrize(("kind", "devices"), [(EMBEDDED, 150), (MANAGED, 30)])
def test_relay_when_it_is_killed_with_many_devices_on_it_then_all_are_back_and_what_ends_is_shut(
    kind: str, devices: int
) -> None:
    """Every grant has its listener again, none is without a grant, and an end shuts one and no other."""
    if reasons := [reason for part in NEEDED[kind] if (reason := missing(part))]:
        pytest.skip("; ".join(reasons))
    environment = {**PLAIN_ENVIRONMENT, "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'examples'}"}
    done = run([sys.executable, "-m", "tests.lab.thousand", kind, str(devices)], env=environment, limit_s=100)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert json.loads(done.stdout.decode().splitlines()[-1])["devices"] == devices
