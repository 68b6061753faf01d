"""A network of one's own, with nothing in it but a loopback: packets can really vanish there, and every TCP port is free."""

import ctypes
from typing import Final

from tests.parts.processes import run

_CLONE_NEWNET: Final = 0x40000000
_WEATHER: Final = """
table inet weather {
  chain arriving {
    type filter hook input priority 0;
  }
}
"""


def enter_own_network() -> None:
    """Move this process and all that it starts into a network of their own; needs root, and to have one thread."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    _must("ip", "link", "set", "lo", "up")
    _must("nft", "-f", "-", stdin=_WEATHER)


def black_hole(port: int, *ends: str) -> None:
    """Let packets from (``sport``) and to (``dport``) a TCP port vanish, both unless said otherwise; nobody is told."""
    for end in ends or ("sport", "dport"):
        _must("nft", "add", "rule", "inet", "weather", "arriving", "tcp", end, str(port), "drop")


def _must(*argv: str, stdin: str = "") -> None:
    done = run(["/usr/bin/env", *argv], stdin=stdin.encode())
    assert done.returncode == 0, f"{argv}: {done.stderr.decode()}"
