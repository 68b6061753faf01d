"""Some faults of the table, done once each; ``make soak`` does all of them, many times, at moments by chance."""

import pytest

from tests.house.house import Device, House
from tests.lab.faults import go_through, named
from tests.lab.scales import Scales

pytestmark = [pytest.mark.timeout(240), pytest.mark.feature("E9", "B15")]

QUICK = (
    ("SIGKILL agent", "OPENING"),
    ("SIGKILL tunnel", "OPEN"),
    ("SIGKILL door", "OPEN"),
    ("SIGKILL relay and worker", "CLOSING"),
    ("SIGKILL agent and door", "CLOSING"),
    ("tunnel lost and back while there is no broker", "OPEN"),
    ("power cut, relay not told", "OPEN"),
    ("journal torn in its last record", "SHUT"),
    ("disk full but for 0 KiB: console", "OPENING"),
    ("disk put back from a backup", "SHUT"),
    ("disk copied into a second machine", "SHUT"),
    ("half-open link to the device, 5 s", "OPEN"),
    ("proxy cuts what is idle for 8 s, for 40 s", "OPEN"),
    ("no broker for 40 s", "OPEN"),
    ("broker away for an hour", "SHUT"),
    ("descriptors used up: worker", "OPENING"),
    ("clock +1 d for 8 s: device", "OPEN"),
    ("clock +1 d for 8 s: relay", "OPEN"),
    ("clock -1 d for 8 s: console", "OPEN"),
)


@pytest.mark.parametrize(("fault", "state"), QUICK)
def test_house_when_a_fault_was_mended_then_the_door_is_where_it_was_wanted_and_all_holds(
    lab: House, device: Device, fault: str, state: str
) -> None:
    """Within the seconds of the table the door is open or shut as asked for, every invariant holds, and nobody who lived has grown."""
    if named(fault).lacking:
        pytest.skip(named(fault).lacking)
    scales = Scales()
    scales.note(lab)
    assert go_through(lab, named(fault), state)
    scales.all_back(lab)
