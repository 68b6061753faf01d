"""The demo's TCP ports on a machine where most of what it would take is taken."""

import sys

import pytest

from tests.house.machine import CHECKOUT
from tests.parts.processes import PLAIN_ENVIRONMENT, run

BUSY = """
import resource, socket
from demo.trial import free_ports
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
taken = {port for port in range(20_000, 29_010) if port // 50 % 2}
held = [socket.create_server(("127.0.0.1", port)) for port in taken]
for _ in range(20):
    found = free_ports(5)
    used = {*found, found[-1] + 1}
    assert len(used) == 6 and not used & taken, used & taken
print("found")
"""


@pytest.mark.feature("T5")
@pytest.mark.real("root", "unshare", "ip")
def test_ports_when_half_of_them_are_taken_then_the_demo_finds_six_that_are_free() -> None:
    """Whatever else listens, a second demo above all, keeps its ports; the doors' two stand side by side."""
    alone = ["/usr/bin/unshare", "--net", "/bin/sh", "-ec", 'ip link set lo up; exec "$@"', "sh"]
    ran = run([*alone, sys.executable, "-c", BUSY], env={**PLAIN_ENVIRONMENT, "PYTHONPATH": str(CHECKOUT / "examples")})
    assert ran.stdout == b"found\n", ran.stderr.decode()
