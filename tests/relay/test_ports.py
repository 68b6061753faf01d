"""Ports of the embedded relay on machines without IPv6."""

import sys
from pathlib import Path
from typing import Final

import pytest

from tests.parts.installed import require
from tests.parts.processes import run

BOUND: Final = """
import sys
from pathlib import Path
from doorward_relay.edges.embedded.ports import bound
print(len(bound(sys.argv[1], 2222)))
"""
WITHOUT_IPV6: Final = 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set lo up; exec "$@"'


@pytest.mark.feature("T5")
@pytest.mark.real("root", "ip", "unshare")
@pytest.mark.parametrize("bind", ["*", "localhost"])
def test_port_when_the_machine_has_no_ipv6_then_it_is_bound_by_ipv4(bind: str) -> None:
    """The kernel refuses an address of the other family; that is nobody's port."""
    alone: list[str | Path] = [require("unshare"), "--net", "--mount", "/bin/sh", "-ec", WITHOUT_IPV6, "sh"]
    ran = run([*alone, sys.executable, "-c", BOUND, bind])
    assert ran.returncode == 0, ran.stderr.decode()
    assert int(ran.stdout) >= 1
