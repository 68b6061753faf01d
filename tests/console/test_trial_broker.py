"""``doorward-console broker`` as a program; how it keeps devices apart is in tests/harness/test_brokers.py."""

from pathlib import Path

from tests.parts.processes import Programs
from tests.parts.trial_broker import start_trial_broker


def test_broker_when_its_port_is_taken_then_it_says_so(programs: Programs, scratch: Path) -> None:
    """A second broker on one port ends at once with a sentence that names the port."""
    broker = start_trial_broker(programs, scratch / "broker")
    second = programs.start(*broker.command, name="second")
    assert second.process.wait(20) == 1
    assert f"Port {broker.port} (broker_port) cannot be bound" in second.log_text()


def test_broker_when_told_to_end_then_it_ends_with_clients_connected(programs: Programs, scratch: Path) -> None:
    """SIGTERM ends it at once, whoever is connected."""
    broker = start_trial_broker(programs, scratch / "broker")
    assert broker.program is not None
    assert broker.program.end(limit_s=5) == 0
