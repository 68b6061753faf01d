"""The accounts of this machine: who we are, and the login user as sshd will see it."""

import os
import pwd
from pathlib import Path

from doorward_runner.config import RunnerConfig
from doorward_runner.errors import ConfigError, Refused


def check_ourselves(config: RunnerConfig) -> None:
    """Raise ConfigError where we are not whom ``rootless`` says; an ordinary user can only open its own account."""
    if not config.rootless:
        return
    if os.geteuid() == 0:
        raise ConfigError(["rootless: this is root, who gives the log-in an account of its own; take rootless out"])
    if not shares_user(config.login_user):
        raise ConfigError([f"login_user: rootless, it can only be the user who runs this: {_own_name()}"])


def shares_user(login_user: str) -> bool:
    """Tell whether whoever logs in is the very user that runs this, and so can reach what is the agent's."""
    try:
        return pwd.getpwnam(login_user).pw_uid == os.geteuid()
    except KeyError:
        return False


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}, which has no name"


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
    """Give the password field; from shadow(5) by hand, because Python 3.13 has no spwd any more.

    An ordinary user's sshd cannot read it either, and takes "x" for a password.
    """
    if field != "x" or os.geteuid() != 0:
        return field
    for line in Path("/etc/shadow").read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition(":")
        if name == user:
            return rest.partition(":")[0]
    return field
