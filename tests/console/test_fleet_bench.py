"""The fleet's bench: its own ceilings let it open what it toggles, and what is refused is said at once."""

from dataclasses import replace
from pathlib import Path

from doorward_console.keys.ceilings import ceilings_from_file
from doorward_console.maintenance.asking import turn_on
from doorward_console.maintenance.decisions import Ceilings
from doorward_console.maintenance.models import Intent
from doorward_console.maintenance.signing import Signer

from bench.fleet import SIZE, outcome
from bench.fleet_standing import configured
from tests.console.conftest import House
from tests.console.test_signing import HERE, decided, signer
from tests.parts.mosquitto import Broker

__all__ = ["signer"]


def test_fleet_when_it_is_configured_then_all_of_it_may_be_open_at_once(scratch: Path, broker: Broker) -> None:
    """The bench opens 200 doors before it shuts them; under the ceiling that comes with a signer the 101st was refused."""
    configured(scratch, broker, "postgresql://nowhere/doorward", SIZE)
    assert ceilings_from_file(scratch / "ceilings").most_open_sessions == SIZE > Ceilings().most_open_sessions


def test_outcome_when_the_signer_refuses_then_it_is_the_code(house: House, signer: Signer) -> None:
    """Nothing of a refused ON is a session, so a bench that looks at sessions alone waits in vain and cannot say for what."""
    asked = turn_on(house.device, house.owner, HERE, 600, "ticket 4711")
    assert isinstance(asked, Intent)
    assert outcome(house.device.pk) == ""
    decided(replace(signer, ceilings=Ceilings(longest_session_s=1)), asked)
    assert outcome(house.device.pk) == "signer.too-long"
