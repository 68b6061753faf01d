"""A customer's relay: a machine with its own sshd and an ordinary user, set up as feature E2 says and no further."""

from dataclasses import dataclass

from tests.house.house import House
from tests.house.machine import Inside, Machine
from tests.parts.files import write_whole
from tests.parts.ports import free_port, neighbours
from tests.parts.waiting import wait_until

USER = "gateway"
CUSTOMERS_OWN = ("UsePAM no", "PasswordAuthentication no", "AuthorizedKeysFile .ssh/authorized_keys", "PidFile none")
AS_E2_SAYS = ("PubkeyAuthentication yes", "GatewayPorts yes", "ClientAliveInterval 30", "ClientAliveCountMax 3")


@dataclass(slots=True)
class PlainRelay:
    """The machine; ``port`` is its sshd's, ``door_port`` the one for a device."""

    house: House
    machine: Machine
    port: int
    door_port: int
    sshd: Inside | None = None
    id: str = ""

    @property
    def host_key(self) -> str:
        """What the owner copies from the relay."""
        return self.machine.must("/bin/cat", "/etc/ssh/plain_host_key.pub").strip()

    def start(self, *options: str) -> None:
        """Start the customer's sshd; ``options`` stand before E2's and so win."""
        lines = (f"Port {self.port}", "HostKey /etc/ssh/plain_host_key", *options, *AS_E2_SAYS, *CUSTOMERS_OWN)
        write_whole(self.machine.folder / "etc/ssh/plain_config", "\n".join(lines) + "\n")
        self.sshd = self.machine.start("/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/plain_config", name="sshd")
        wait_until(lambda: self.house.listens(self.port), 10, "the customer's sshd")

    def restart(self, *options: str) -> None:
        """Start it anew with other options; its sessions end with it, as at a reboot."""
        self.cut()
        self.machine.power_on()
        self.machine.must("/bin/mkdir", "-p", "/run/sshd")
        self.start(*options)

    def cut(self) -> None:
        self.machine.cut_power()

    def install(self, line: str) -> None:
        """Append a line to the user's authorized_keys, as E2 says; "" takes all away."""
        path = f"/home/{USER}/.ssh/authorized_keys"
        if not line:
            self.machine.must("/bin/rm", "-f", path)
            return
        self.machine.must("/bin/sh", "-c", f"cat >> {path} && chmod 600 {path}", stdin=line.encode(), user=USER)

    def add(self, **changes: object) -> str:
        """Add it in the console, as the owner does; gives its id."""
        wanted = {"name": "Customer", "host": self.house.address, "ssh_port": self.port, "user": USER}
        wanted |= {"ssh_host_keys": [self.host_key]} | changes
        console = self.house.console
        self.id = str(console.post(f"/projects/{console.project}/relays/plain", **wanted)["id"])
        return self.id

    def line(self, ports: str) -> str:
        """Download the project's line for these ports."""
        console = self.house.console
        return str(console.post(f"/projects/{console.project}/keys/relay-file", ports=ports)["content"])


def plain_relay_in(house: House) -> PlainRelay:
    """Set up the machine, with its user and its host key; its sshd is not started yet."""
    count = len(list(house.folder.glob("customer-*")))  # several files may set one up in one house
    folder = house.folder / f"customer-{count}"
    machine = Machine("customer", folder, house.programs, house.network.outside if house.network else 0)
    machine.prepare()
    machine.power_on()
    machine.must("/usr/sbin/useradd", "--create-home", "--shell", "/bin/bash", "--password", "*", USER)
    machine.must("/bin/mkdir", "-m", "700", f"/home/{USER}/.ssh", user=USER)
    machine.must("/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/plain_host_key")
    machine.must("/bin/mkdir", "-p", "/run/sshd")
    port, door_port = free_port(), neighbours(1)[0]
    return PlainRelay(house, machine, port, door_port)
