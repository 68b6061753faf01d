"""docs/operations.md, tried: its blocks are run as they stand there, on four machines, until an engineer logs in.

Console with broker, relay and engineer's computer stand outside, the device behind NAT. The names of the page are in the
machines' /etc/hosts, the ports are the page's own. What these machines have not is named here, and nothing else is left out.
"""

import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.flows.conftest import NEEDED
from tests.house.api import Console, console_of
from tests.house.house import AGENT_TOML, AGENT_USER
from tests.house.machine import CHECKOUT, PROGRAMS, Inside, Machine
from tests.house.network import OUTSIDE, Network
from tests.parts.files import scratch_folder, write_whole
from tests.parts.installed import missing, require
from tests.parts.ports import is_listening
from tests.parts.processes import Programs, run
from tests.parts.waiting import wait_until

PAGE = CHECKOUT / "docs" / "operations.md"
NOT_HERE = ("apt-get ", "python3 -m venv ", "ln -s /opt/doorward/")
"""A test fetches nothing, and /usr is the host's own; ``PLACES`` stands for what these would have put there."""
PLACES = {"/usr/share/doorward/": f"{CHECKOUT}/", "/usr/bin/doorward-": f"{PROGRAMS}/doorward-"}
PATH = f"{PROGRAMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ADDRESS = "https://console.example.com:8000"
DOOR = 20_000

pytestmark = [pytest.mark.timeout(240)]


def blocks(machine: str) -> list[str]:
    """Give the commands of a machine's blocks, one block a string, as they stand on the page."""
    return re.findall(
        rf"^```sh {re.escape(machine)}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


class Site:
    """The machines, and what systemd would keep running on them."""

    def __init__(self, folder: Path, programs: Programs, network: Network) -> None:
        self.network = network
        self.machines = {
            name: Machine(name, folder / name, programs, network.device if name == "device" else network.outside)
            for name in ("console", "relay", "device")
        }
        self.running: dict[str, Inside] = {}
        for machine in self.machines.values():
            machine.prepare()
            hosts = machine.folder / "etc/hosts"
            write_whole(hosts, f"127.0.0.1 localhost\n{OUTSIDE} console.example.com relay.example.com\n")
            (machine.folder / "etc/systemd/system").mkdir(parents=True, exist_ok=True)
            (machine.folder / "etc/tmpfiles.d").mkdir(exist_ok=True)
            machine.power_on()

    def type_in(self, name: str, block: str, pasted: str = "") -> str:
        """Type a block on a machine; gives all that it printed, and fails with the command that failed."""
        return "".join(self._type_line(self.machines[name], line, pasted) for line in block.splitlines())

    def _type_line(self, machine: Machine, line: str, pasted: str) -> str:
        if line.startswith(NOT_HERE):
            return ""
        if line.startswith("systemctl "):
            self._systemctl(machine, *line.split()[1:])
            return ""
        return machine.must("/usr/bin/env", f"PATH={PATH}", "/bin/sh", "-ec", _placed(line), stdin=pasted.encode())

    def _systemctl(self, machine: Machine, verb: str, *units: str) -> None:
        if verb in {"stop", "restart"}:
            with ThreadPoolExecutor() as at_once:  # as systemd does
                list(at_once.map(Inside.end, [self.running.pop(unit) for unit in units if unit in self.running]))
        for unit in units:
            if verb in {"start", "restart", "enable"} and not unit.startswith("-") and unit != "systemd-journald":
                self.running[unit] = self._start(machine, unit)

    def _start(self, machine: Machine, unit: str) -> Inside:
        """Run what a unit runs, as the user that it names."""
        if unit == "mosquitto":
            return machine.start("/usr/sbin/mosquitto", "-c", "/etc/mosquitto/mosquitto.conf")
        stem, at, instance = unit.partition("@")
        text = _unit(machine, f"{stem}{at}.service").read_text().replace("%i", instance)
        command = re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)
        user = re.search(r"^User=(.*)$", text, re.MULTILINE)
        assert command is not None, unit
        argv = shlex.split(_placed(command[1]))
        return machine.start(*argv, user=user[1] if user else None, name=unit)

    def listens(self, port: int) -> bool:
        return self.network.call(lambda: is_listening(port, OUTSIDE))


def _placed(text: str) -> str:
    for there, here in PLACES.items():
        text = text.replace(there, here)
    return text


def _unit(machine: Machine, name: str) -> Path:
    """Find a unit where the page's commands put it; the agent's is put there by the commands for systemd."""
    own = machine.folder / "etc/systemd/system" / name
    return own if own.exists() or name != "doorward-agent.service" else CHECKOUT / "systemd" / name


@pytest.fixture
def site() -> Iterator[Site]:
    """Machines with nothing of doorward on them."""
    lacking = [reason for part in NEEDED if (reason := missing(part))]
    if lacking:
        pytest.skip("; ".join(lacking))
    with scratch_folder() as folder:
        programs = Programs(folder)
        network = Network(programs)
        try:
            network.lay()
            yield Site(folder, programs, network)
        finally:
            for log in sorted(folder.glob("*.log")):
                print(f"== {log.name}\n{log.read_text(errors='replace')[-2000:]}")  # shown for a test that failed
            network.close()
            programs.end_all()


def test_page_when_its_commands_are_typed_then_an_engineer_logs_in_and_a_restore_goes_well(site: Site) -> None:
    """From bare machines to an open door, a backup, a restore, and an open door again, by the page alone."""
    install, setup, logs, backup, export = blocks("console")
    said = site.type_in("console", install + setup.replace("doorward-console check\n", ""))
    password = re.search(r"Password, shown once: (\S+)", said)
    assert password is not None, said
    wait_until(lambda: site.listens(8000), 30, "the console")
    check(site)
    site.type_in("console", logs)
    console = console_of(ADDRESS, root_of(site), site.network, OUTSIDE)
    console.sign_in("aiko@example.com", password[1])
    relay = console.pair_relay("Basement", set_up_relay(site))
    device, line = console.add_device("pump-7", relay, DOOR)
    set_up_device(site, line)
    console.wait_for_device(device, lambda seen: seen["presence"] == "connected")
    key = write_whole(root_of(site).parent / "device.key", console.make_keys()["device_key"]["content"], 0o600)
    opened_and_shut(site, console, device, key)
    site.type_in("console", backup)
    wait_until(lambda: site.listens(8000), 30, "the console")
    opened_and_shut(site, console, device, key)
    site.type_in("console", "\n".join(blocks("console restore")))
    wait_until(lambda: site.listens(8000), 30, "the console")
    opened_and_shut(site, console, device, key)
    console.wait_for_history(("console.restored",))
    assert "holds" in site.type_in("console", export)
    console.close()


def test_page_when_its_commands_for_postgresql_are_typed_then_three_users_with_rights_of_their_own_serve(
    site: Site,
) -> None:
    """The database is made, filled and shared out by the page's lines; web, worker and signer come in by their own names."""
    start_cluster(site)
    _, setup, *_ = blocks("console")
    afterwards = setup.partition("\n")[2].replace("doorward-console check\n", "")
    said = site.type_in("console", blocks("postgres")[0] + afterwards)
    password = re.search(r"Password, shown once: (\S+)", said)
    assert password is not None, said
    wait_until(lambda: site.listens(8000), 30, "the console")
    check(site)
    console = console_of(ADDRESS, root_of(site), site.network, OUTSIDE)
    console.sign_in("aiko@example.com", password[1])
    assert console.pair_relay("Basement", set_up_relay(site, "embedded"))
    console.wait_for_history(("relay.paired",))
    console.close()


def start_cluster(site: Site) -> None:
    """Start PostgreSQL on the console's machine as Debian does: its own user, a socket in /run, ``peer`` for all."""
    machine, binaries = site.machines["console"], require("postgres").parent
    for folder in ("/run/postgresql", "/var/lib/postgresql"):
        machine.must("/usr/bin/install", "-d", "-o", "postgres", "-g", "postgres", "-m", "755", folder)
    data = ("-D", "/var/lib/postgresql/data")
    machine.must(binaries / "initdb", *data, "--no-sync", "--auth=peer", "--locale=C.UTF-8", user="postgres")
    machine.start(binaries / "postgres", *data, "-k", "/run/postgresql", "-h", "", user="postgres")
    wait_until(lambda: machine.run("/usr/bin/pg_isready", "-q").returncode == 0, 20, "the cluster")


def check(site: Site) -> None:
    """Let the console settle: a worker that has just started is still on its way to the broker."""
    machine = site.machines["console"]
    wait_until(lambda: machine.run(PROGRAMS / "doorward-console", "check").returncode == 0, 20, "a check that is well")


def root_of(site: Site) -> Path:
    return site.machines["console"].folder / "etc/doorward/root-ca.pem"


def set_up_relay(site: Site, kind: str = "relay") -> str:
    """Follow the page on the relay; gives the line that it prints."""
    install, *managed = blocks("relay")
    setup, status = managed if kind == "relay" else blocks(kind)
    said = site.type_in("relay", install + setup)
    wait_until(lambda: site.listens(8443) and site.listens(2222), 20, "the relay")
    assert site.type_in("relay", status)
    return next(line.strip() for line in said.splitlines() if line.strip().startswith("doorward-relay-1 "))


def set_up_device(site: Site, line: str) -> None:
    """Follow the page on the device, on its way without systemd."""
    install, users, without_systemd, join, start = blocks("device")
    machine = site.machines["device"]
    site.type_in("device", install + users + without_systemd)
    etc = machine.folder / "etc"
    assert (etc / "doorward/agent.toml").read_text() == AGENT_TOML.splitlines(keepends=True)[0]
    write_whole(etc / "doorward/agent.toml", AGENT_TOML.format(programs=PROGRAMS, tunnel="auto"))
    rule = etc / "sudoers.d/doorward"
    write_whole(rule, _placed(rule.read_text()), 0o440)
    site.type_in("device", join, f"{line}\n")
    service, status = start.splitlines()
    site.type_in("device", service)
    assert f"User={AGENT_USER}\n" in _unit(machine, "doorward-agent.service").read_text()
    wait_until(lambda: machine.run("/usr/bin/env", f"PATH={PATH}", *status.split()).returncode == 0, 20, status)


def opened_and_shut(site: Site, console: Console, device: str, key: Path) -> None:
    """Turn on, log in from outside with the plain client, turn off."""
    console.open_door(device)
    door = console.wait_for_door(device, "open", 60)
    known = write_whole(key.parent / "known_hosts", door["lines"]["known_hosts"] + "\n")
    options = ["-F", "none", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={known}", "-o", f"HostKeyAlias={device}"]
    wired = ["/usr/bin/nsenter", f"--net=/proc/{site.network.outside}/ns/net", "--"]
    login = ["/usr/bin/ssh", *options, "-i", str(key), "-p", str(DOOR), f"remote-admin@{OUTSIDE}", "id -un"]
    done = run([*wired, *login])
    assert (done.returncode, done.stdout) == (0, b"remote-admin\n"), done.stderr.decode()
    console.shut_and_wait(device)
    assert not site.listens(DOOR)


def test_page_when_it_names_ports_units_and_files_then_they_are_the_programs_own() -> None:
    """The table of what to open has the defaults, and everything that is copied comes with the package."""
    from doorward_console.config import Config as ConsoleConfig
    from doorward_relay.config import config_from_document

    text = PAGE.read_text(encoding="utf-8")
    relay = config_from_document({"host": "relay.example.com"})
    assert f"| {relay.ssh_port} (`--ssh-port`)" in text
    assert f"| {relay.control_port} (`--control-port`)" in text
    assert f"| {relay.ports[0]} to {relay.ports[-1]} (`--ports`)" in text
    assert f"| {ConsoleConfig().broker_port} (`--broker`)" in text
    copied = set(re.findall(r"/usr/share/doorward/((?:systemd|examples)/[\w.@-]+)", text))
    assert len(copied) >= 7
    assert [name for name in copied if not [*CHECKOUT.glob(f"{name}*")]] == []
    tmpfiles = (CHECKOUT / "systemd/doorward-console.tmpfiles").read_text(encoding="utf-8")
    assert "\nd /run/doorward-console 2770 root doorward\n" in tmpfiles
    enabled = {unit for line in re.findall(r"systemctl enable --now (.*)", text) for unit in line.split()}
    stems = {re.sub(r"@\w+$", "@", unit).removesuffix(".service") for unit in enabled}
    assert [stem for stem in stems if not [*(CHECKOUT / "systemd").glob(f"{stem}*")]] == []
