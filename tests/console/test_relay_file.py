"""``relay-server-<id>.key`` on any sshd: its one line admits a project's tunnels to the ports named, and nothing else."""

from pathlib import Path

import pytest
from doorward_console.declined import Declined
from doorward_console.fleet.ssh_lines import Way, bare_ssh_line, known_hosts_line, relay_server_line, ssh_line
from doorward_console.keys.relay_file import ports_from_text, text_from_ports

from tests.parts.files import write_whole
from tests.parts.installed import require
from tests.parts.ports import free_port
from tests.parts.processes import Programs, run
from tests.parts.sshd import Sshd, make_ssh_key, start_sshd

PROJECT = "p-aaaaaaaaaaaaaaaa"


@pytest.fixture
def key(scratch: Path) -> Path:
    """A device's tunnel key with a certificate for the project, and the CA that signed it beside it."""
    make_ssh_key(scratch / "ca")
    make_ssh_key(scratch / "tunnel")
    keygen = require("ssh").with_name("ssh-keygen")
    made = run(
        [keygen, "-q", "-s", scratch / "ca", "-I", "device", "-n", PROJECT, "-O", "clear",
         "-O", "permit-port-forwarding", "-V", "+1h", scratch / "tunnel.pub"]
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return scratch / "tunnel"


@pytest.fixture
def ports() -> tuple[int, int]:
    """A port that the line names, and one that it does not."""
    return free_port(), free_port()


@pytest.fixture
def relay(programs: Programs, scratch: Path, key: Path, ports: tuple[int, int]) -> Sshd:
    """A plain sshd with our line in its authorized_keys."""
    line = relay_server_line(PROJECT, [ports[0]], (scratch / "ca.pub").read_text())
    return start_sshd(programs, scratch / "relay", [line], ["GatewayPorts yes"])


def ssh(relay: Sshd, key: Path, *arguments: str) -> int:
    """Run ssh as a device would, to its end; gives its exit status."""
    known = write_whole(relay.folder / "known_hosts", relay.known_hosts())
    options = (f"UserKnownHostsFile={known}", "BatchMode=yes", "ExitOnForwardFailure=yes", "IdentitiesOnly=yes")
    said = [part for option in options for part in ("-o", option)]
    ran = run([require("ssh"), "-F", "none", "-i", key, "-p", str(relay.port), *said, *arguments], limit_s=20)
    return ran.returncode


@pytest.mark.feature("E1")
@pytest.mark.real("sshd", "ssh")
def test_line_on_a_plain_sshd_admits_its_port_and_refuses_all_else(
    relay: Sshd, key: Path, ports: tuple[int, int]
) -> None:
    """A forward of the port named is granted; another port, a command, and the relay's own loopback are not."""
    control = key.with_name("control")
    master = ("-M", "-S", str(control), "-f", "-N", "127.0.0.1")
    assert ssh(relay, key, *master) == 0
    through = ("-S", str(control), "127.0.0.1")
    try:
        assert ssh(relay, key, "-O", "forward", "-R", f"0.0.0.0:{ports[0]}:127.0.0.1:9", *through) == 0
        assert ssh(relay, key, "-O", "forward", "-R", f"0.0.0.0:{ports[1]}:127.0.0.1:9", *through) == 255
        assert ssh(relay, key, "-S", str(control), "127.0.0.1", "id") != 0
    finally:
        ssh(relay, key, "-O", "exit", *through)
    assert ssh(relay, key, "-W", f"127.0.0.1:{relay.port}", "127.0.0.1") != 0


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("22001", (22001,)),
        ("22001-22003, 22010", (22001, 22002, 22003, 22010)),
        (" 22002 22001 22001 ", (22001, 22002)),
    ],
)
def test_ports_when_typed_as_people_do_are_read(text: str, ports: tuple[int, ...]) -> None:
    """Ranges, commas, spaces and repeats are all one list of ports, written back as ranges."""
    assert ports_from_text(text) == ports
    assert ports_from_text(text_from_ports(ports)) == ports


@pytest.mark.parametrize("text", ["", "ssh", "0", "70000", "22010-22001", "1-65535", "22001-", '22001",command="id'])
def test_ports_that_are_none_are_declined(text: str) -> None:
    """Nothing but ports comes into the relay's line."""
    with pytest.raises(Declined):
        ports_from_text(text)


@pytest.mark.feature("E4")
def test_lines_for_an_engineer_are_those_of_the_ledger() -> None:
    """The bare line is the compatible one; the printed one knows the door by the device's id."""
    way = Way(PROJECT, "d-aaaaaaaaaaaaaaaa", "relay.example.com", 22001, "remote-admin")
    assert bare_ssh_line(way) == f"ssh -i device-{PROJECT}.key remote-admin@relay.example.com -p 22001"
    assert " -o HostKeyAlias=d-aaaaaaaaaaaaaaaa remote-admin@relay.example.com -p 22001" in ssh_line(way)
    said = known_hosts_line("d-aaaaaaaaaaaaaaaa", "ssh-ed25519 AAAA comment")
    assert said == "@cert-authority d-aaaaaaaaaaaaaaaa ssh-ed25519 AAAA"
    loopback = Way(PROJECT, "d-aaaaaaaaaaaaaaaa", "relay.example.com", 22001, "remote-admin", is_loopback=True)
    assert "-J relay.example.com remote-admin@localhost -p 22001" in ssh_line(loopback)
