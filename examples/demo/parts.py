"""Which parts a trial runs on: real ones where they are installed, ours where they are not.

Broker: Mosquitto or ``doorward-console broker``. Relay: an ordinary sshd as any customer has one (a plain relay), or
``doorward-relay serve``. Door: OpenSSH's sshd or the embedded one. Tunnel: the ``ssh`` program or paramiko. ``auto`` takes
the real part where there is one, but for the relay: a plain relay has no second closer and writes no history, and a
demo should show both.
"""

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

AUTO: Final = "auto"
REAL: Final = "real"
EMBEDDED: Final = "embedded"
CHOICES: Final = (AUTO, REAL, EMBEDDED)

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PACKAGES: Final = {"mosquitto": "mosquitto", "sshd": "openssh-server", "ssh": "openssh-client"}


class Lacking(Exception):
    """A part that was asked for is not installed, or the account that everything would belong to is none."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one trial; a program is None where ours stands in."""

    mosquitto: Path | None
    relay_sshd: Path | None
    door_sshd: Path | None
    tunnel_ssh: Path | None
    ssh: Path | None

    def said(self) -> dict[str, str]:
        """Say which they are."""
        return {
            "broker": "Mosquitto" if self.mosquitto else "embedded (amqtt)",
            "relay": "plain (OpenSSH)" if self.relay_sshd else "embedded (asyncssh)",
            "door": "OpenSSH" if self.door_sshd else "embedded (paramiko)",
            "tunnel": "ssh" if self.tunnel_ssh else "paramiko",
        }


def found(name: str) -> Path | None:
    """Find a program, also in the folders for administrators, which an ordinary user's PATH leaves out."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_PATH}")
    return None if path is None else Path(path).absolute()


def chosen(kind: str) -> Parts:
    """Choose the parts; raises Lacking where real ones are asked for and one is not installed, or nobody could log in."""
    _check_account()
    mosquitto, sshd, ssh = found("mosquitto"), found("sshd"), found("ssh")
    if kind == EMBEDDED:
        return Parts(None, None, None, None, ssh)
    if kind == REAL:
        lacking = [
            name for name, program in (("mosquitto", mosquitto), ("sshd", sshd), ("ssh", ssh)) if program is None
        ]
        if lacking:
            packages = " ".join(_PACKAGES[name] for name in lacking)
            raise Lacking(
                f"not installed: {', '.join(lacking)}. Install: apt install {packages}; or use PARTS=embedded."
            )
        return Parts(mosquitto, sshd, sshd, ssh, ssh)
    return Parts(mosquitto, None, sshd if may_give_terminals() else None, ssh, ssh)


def _check_account() -> None:
    """Raise Lacking in a container that runs as a number."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise Lacking(
            f"uid {os.geteuid()} has no account here, and the door opens its user's account. Run it as a user of this machine."
        ) from None


def may_give_terminals() -> bool:
    """Tell whether an ordinary user's sshd can: it cannot change whose a terminal is, so ``/dev/pts`` has to be tty's."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return any(" /dev/pts devpts " in line and ",gid=5," in line for line in mounts)
