"""An agent that waits costs little: what is not needed for waiting is not in its memory."""

import importlib.metadata
import sys
from pathlib import Path

import doorward_agent
import pytest

from tests.agent.conftest import Scene
from tests.parts.processes import run
from tests.parts.waiting import wait_until

MOST_KIB = 18 * 1024
"""Of memory that is the agent's alone; some 15 MiB of it are Python, TLS, MQTT and the machine's tables."""

LOADED = """
import sys
from doorward_agent.__main__ import main
main(["--config", "/nonexistent/agent.toml", "run"])
print(*sorted({"argparse", "importlib.metadata", "cryptography", "paramiko", "email"} & set(sys.modules)))
"""


TELLING = """
import gc, sys, threading, time
from doorward_agent.__main__ import main
def tell():
    while True:
        time.sleep(0.5)
        sys.stderr.write(f"garbage is looked for: {gc.isenabled()}\\n")
threading.Thread(target=tell, daemon=True).start()
main(["--config", sys.argv[1], "run"])
"""


def own_kib(pid: int) -> int:
    """Read the memory that a process shares with nobody."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


@pytest.mark.real("mosquitto", "sshd")
def test_agent_when_it_waits_for_its_first_order_then_it_is_small(running: Scene) -> None:
    """A real agent, connected over TLS, receipted as a console does it, stays under its bound."""
    running.console.receipt(0)
    running.console.publish(b"rubbish")
    wait_until(lambda: "order.not-an-envelope" in running.log())
    assert running.agent is not None
    assert own_kib(running.agent.pid) < MOST_KIB


@pytest.mark.real("mosquitto", "sshd")
def test_agent_when_it_has_obeyed_orders_then_it_holds_no_second_openssl(running: Scene) -> None:
    """Verifying orders and receipts and signing records is done by the one that TLS has loaded."""
    running.open()
    wait_until(lambda: len(running.console.raw_records) > 1)
    upto = max(running.console.raw_records)
    running.console.receipt(upto)
    wait_until(lambda: running.status()["journal"]["receipted"] == upto)
    assert running.agent is not None
    mapped = Path(f"/proc/{running.agent.pid}/maps").read_text()
    assert "libcrypto" in mapped
    assert "cryptography" not in mapped


def test_agent_when_it_has_loaded_all_then_it_looks_for_garbage(scene: Scene) -> None:
    """It does not while it loads; what goes in circles would else stay for months."""
    scene.agent = scene.programs.start(sys.executable, "-c", TELLING, scene.config, name="agent")
    scene.console.next_ask()
    wait_until(lambda: "garbage is looked for: True\n" in scene.log())


def test_agent_when_an_init_starts_it_then_neither_parser_nor_package_data_is_loaded() -> None:
    """They would stay for as long as the agent runs."""
    ran = run([sys.executable, "-c", LOADED])
    assert ran.stdout.decode() == "\n"
    assert "/nonexistent/agent.toml" in ran.stderr.decode()


@pytest.mark.parametrize("module", ["doorward_agent.edges.paramiko_child", "doorward_door.__main__"])
def test_paramiko_when_a_tunnel_or_a_door_loads_it_then_what_it_brings_for_nobody_is_not_there(module: str) -> None:
    """A runner of tasks with its parser of YAML, a loop and a library for tests: 7 MiB of a device's memory."""
    named = {"invoke", "yaml", "asyncio", "unittest"}
    ran = run(
        [
            sys.executable,
            "-c",
            f"import sys, {module}; print(*sorted({named} & set(filter(sys.modules.get, sys.modules))))",
        ]
    )
    assert ran.stdout.decode() == "\n", ran.stderr.decode()


def test_agent_when_it_names_its_version_then_it_is_the_distributions() -> None:
    """One version for all rooms."""
    assert importlib.metadata.version("doorward") == doorward_agent.VERSION
