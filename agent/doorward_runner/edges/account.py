"""The login user's account on this machine, as sshd will see it."""

import pwd
from pathlib import Path

from doorward_runner.errors import Refused


def check_login(user: str) -> None:
    """Refuse with ``door.no-user`` or ``door.user-locked`` where sshd would refuse every key of ``user``."""
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise Refused("door.no-user", user) from None
    if account.pw_uid == 0:
        raise Refused("order.not-allowed", f"{user} is another name of root")
    if _password(user, account.pw_passwd).startswith("!"):  # LOCKED_PASSWD_PREFIX of OpenSSH on Linux
        raise Refused("door.user-locked", user)


def _password(user: str, field: str) -> str:
    """Give the password field; from shadow(5) by hand, because Python 3.13 has no spwd any more."""
    if field != "x":
        return field
    for line in Path("/etc/shadow").read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition(":")
        if name == user:
            return rest.partition(":")[0]
    return field
