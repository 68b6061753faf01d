"""Each kind of weather is what it says: seen from the device, with a real connection to the relay's place."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.house.network import Network
from tests.lab.building import lacking
from tests.parts.files import scratch_folder
from tests.parts.processes import Programs, run
from tests.parts.waiting import wait_until

ECHO = """
import socket, threading
def serve(one):
    while said := one.recv(9): one.sendall(said)
listening = socket.create_server(("", 7000))
print("there", flush=True)
while True: threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""
ASK = """
import json, socket, sys, time
began = time.monotonic()
try:
    with socket.create_connection((sys.argv[1], 7000), timeout=1.5) as one:
        one.sendall(b"x")
        one.recv(1)
    said = "answered"
except OSError as error:
    said = type(error).__name__
print(json.dumps({"said": said, "after_s": time.monotonic() - began}))
"""


TALK = """
import socket, sys
with socket.create_connection((sys.argv[1], 7000), timeout=1.5) as one:
    try:
        while True:
            one.sendall(b"x")
            assert one.recv(1)
            print("answered", flush=True)
    except (OSError, AssertionError) as error:
        print(type(error).__name__, flush=True)
"""


@dataclass(slots=True)
class Wired:
    """A network with somebody who answers at the relay's place."""

    network: Network

    def ask(self) -> dict[str, Any]:
        """Ask from the device, behind the NAT."""
        done = run([*_in(self.network.device), sys.executable, "-c", ASK, self.network.address_of("relay")])
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def _in(pid: int) -> list[str]:
    return ["/usr/bin/nsenter", f"--net=/proc/{pid}/ns/net", "--"]


@pytest.fixture(scope="module")
def wired() -> Iterator[Wired]:
    """One network for all its weathers."""
    if reasons := lacking():
        pytest.skip("; ".join(reasons))
    with scratch_folder() as folder:
        programs = Programs(folder)
        network = Network(programs, apart=True)
        try:
            network.lay()
            echo = programs.start(*_in(network.place_of("relay")), sys.executable, "-c", ECHO, name="echo")
            echo.wait_for_log("there")
            yield Wired(network)
        finally:
            network.close()
            programs.end_all()


WEATHERS: dict[str, tuple[Callable[[Network], None], Callable[[dict[str, Any]], bool]]] = {
    "fair": (lambda network: network.weather.restore(), lambda said: said["said"] == "answered"),
    "black hole": (lambda network: network.weather.black_hole("device"), lambda said: said["said"] == "TimeoutError"),
    "half-open": (lambda network: network.weather.black_hole("relay", "from"), lambda said: said["said"] == "TimeoutError"),
    "cut": (lambda network: network.weather.cut("relay"), lambda said: said["said"] == "OSError" and said["after_s"] < 1),
    "nearly all lost": (lambda network: network.weather.loss("relay", 99), lambda said: said["said"] == "TimeoutError"),
    "late": (lambda network: network.weather.delay(150), lambda said: said["said"] == "answered" and said["after_s"] > 0.6),
}  # fmt: skip


@pytest.mark.feature("E9")
@pytest.mark.parametrize("name", WEATHERS)
def test_weather_when_it_is_so_then_the_device_feels_it_and_is_well_afterwards(wired: Wired, name: str) -> None:
    """Two round trips of twice 150 ms are 0.6 s; after ``restore`` all is quick again."""
    make, is_felt = WEATHERS[name]
    make(wired.network)
    said = wired.ask()
    wired.network.weather.restore()
    assert is_felt(said), said
    assert wired.ask()["said"] == "answered"


@pytest.mark.feature("E9")
@pytest.mark.parametrize(("is_told", "felt"), [(True, "ConnectionResetError"), (False, "TimeoutError")])
def test_nat_when_it_has_another_address_then_what_it_had_mapped_is_gone_and_new_connections_work(
    wired: Wired, programs: Programs, *, is_told: bool, felt: str
) -> None:
    """Twice, as the first address comes back in turn."""
    network = wired.network
    for _ in range(2):
        talking = programs.start(
            *_in(network.device), sys.executable, "-c", TALK, network.address_of("relay"), name="talking"
        )
        talking.wait_for_log("answered")
        network.weather.change_address(is_told=is_told)
        wait_until(lambda one=talking: felt in one.log_text(), 10, felt)  # type: ignore[misc]
        network.weather.restore()
        assert wired.ask()["said"] == "answered"
