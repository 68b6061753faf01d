"""Ports of the embedded relay on machines without IPv6."""

import sys
from pathlib import Path
from typing import Final

import pytest

from tests.parts.installed import require
from tests.parts.processes import run

BOUND: Final = """
import sys
from doorward_relay.edges.embedded.ports import bound
print(len(bound("localhost", 2222)))
"""
WITHOUT_IPV6: Final = 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set lo up; exec "$@"'


@pytest.mark.feature("T5")
@pytest.mark.real("root", "ip", "unshare")
def test_port_when_the_machine_has_no_ipv6_then_it_is_bound_by_ipv4() -> None:
    """The kernel refuses ::1 there (and takes ::, which therefore shows nothing); that is nobody's port."""
    alone: list[str | Path] = [require("unshare"), "--net", "--mount", "/bin/sh", "-ec", WITHOUT_IPV6, "sh"]
    ran = run([*alone, sys.executable, "-c", BOUND])
    assert ran.returncode == 0, ran.stderr.decode()
    assert int(ran.stdout) == 1
