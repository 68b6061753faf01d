"""The runner's configuration: one TOML file of root's, read whole, with every fault named at once.

Knows fields, defaults and their reasons. Does not touch the folders that it names (``edges/files`` does). Read by
``__main__`` at each start; no other module reads the file or the environment.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from doorward_runner.errors import ConfigError

DEFAULT_PATH: Final = Path("/etc/doorward/runner.toml")
CLOSERS: Final = ("auto", "systemd", "cgroup", "subreaper")
DOORS: Final = ("auto", "sshd", "embedded")
LONGEST_SESSION_S: Final = 7 * 24 * 3600
"""No session lasts longer than a week, whatever the file says: a door is for maintenance."""


LONGEST_HOOK_S: Final = 600
HOOKS: Final = (Path("/etc/doorward/hooks"), Path(sys.prefix) / "share/doorward/firmware-hooks")


class RunnerConfig(NamedTuple):
    """What an installation may choose.

    Attributes:
        rootless: run as the agent's own ordinary user, for a trial and where there is no root. Whoever logs in is then
            that user too, so the second check is no longer out of the agent's reach; every session says so.
        state_dir: pins, counters, ended sessions, the door's host key; root's, mode 0700, survives a reboot.
        run_dir: nonces and the open door's files; root's, mode 0755, gone after a reboot. No folder above it may be
            writable by others than root, or sshd refuses the keys in it. Both are the user's own where it is rootless.
        login_user: the one account that may log in at the door.
        agent_user: the account of the agent, the only one besides root that is answered on the socket.
        longest_session_s: seconds, from 60 s to a week; the default is one working day.
        sshd: absolute path of OpenSSH's server.
        door: which SSH server the door is; ``auto`` takes ``sshd`` where it is installed, else the embedded one.
        closer: who ends the door; ``auto`` takes the first that this machine has of the other three.
        hooks: folders with a hook for each verb; the first that has one counts, so the site's own stand before ours.
        trial_s: seconds that new settings are tried before they are put back, from 5 to 3600; confirming takes a rehearsal.
        source: the file that all this is from; not a key in it.
        hook_limit_s: seconds that a hook may take, from 1 to 600; then it is ended with all that it has started.
    """

    rootless: bool = False
    state_dir: Path = Path("/var/lib/doorward-runner")
    run_dir: Path = Path("/run/doorward-runner")
    login_user: str = "remote-admin"
    agent_user: str = "doorward-agent"
    longest_session_s: int = 28_800
    sshd: Path = Path("/usr/sbin/sshd")
    door: str = "auto"
    closer: str = "auto"
    hooks: tuple[Path, ...] = HOOKS
    hook_limit_s: int = 60
    trial_s: int = 180
    source: Path = DEFAULT_PATH


def config_from_file(path: Path) -> RunnerConfig:
    """Read the file at ``path``; where there is none at the usual place, every default holds.

    Raises:
        ConfigError: with every fault found.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if path == DEFAULT_PATH:
            return RunnerConfig()
        raise ConfigError([f"{path}: there is no such file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read: {error}"]) from error
    return config_from_document(_document(path, text), path)


def _document(path: Path, text: str) -> Mapping[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib as toml
    else:
        import tomli as toml
    try:
        return toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise ConfigError([f"{path}: not TOML: {error}"]) from error


def config_from_document(document: Mapping[str, Any], path: Path) -> RunnerConfig:
    """Check a decoded document; raises ConfigError with every fault found."""
    known = set(_EXPECTED)
    faults = [f"{path}: unknown key {name!r}" for name in document if name not in known]
    chosen: dict[str, Any] = {}
    for name in sorted(known & document.keys()):
        value, expected = document[name], _EXPECTED[name]
        if _is_right(name, value):
            chosen[name] = Path(value) if name in _PATHS else tuple(map(Path, value)) if name == "hooks" else value
        else:
            faults.append(f"{path}: {name} must be {expected}")
    if faults:
        raise ConfigError(faults)
    return RunnerConfig(**chosen, source=path)


UNSAYABLE: Final = '" \\ % * ? ['
"""What even a quoted path cannot hold in sshd_config: its quotes and escapes, its tokens, its patterns (since 10.0)."""
_PATHS: Final = ("state_dir", "run_dir", "sshd")
_PATH_EXPECTED: Final = f"an absolute path without control characters or any of {UNSAYABLE}"
_EXPECTED: Final = {
    "rootless": "true or false",
    "state_dir": _PATH_EXPECTED,
    "run_dir": _PATH_EXPECTED,
    "sshd": _PATH_EXPECTED,
    "door": "one of " + ", ".join(DOORS),
    "login_user": "the name of an account other than root",
    "agent_user": "the name of an account",
    "longest_session_s": f"an integer from 60 to {LONGEST_SESSION_S} (seconds)",
    "closer": "one of " + ", ".join(CLOSERS),
    "hooks": "a list of absolute paths",
    "trial_s": "an integer from 5 to 3600 (seconds)",
    "hook_limit_s": f"an integer from 1 to {LONGEST_HOOK_S} (seconds)",
}


_RANGES: Final = {
    "longest_session_s": (60, LONGEST_SESSION_S),
    "hook_limit_s": (1, LONGEST_HOOK_S),
    "trial_s": (5, 3600),
}
_CHOICES: Final = {"closer": CLOSERS, "door": DOORS}


def _is_right(name: str, value: Any) -> bool:
    if name in _RANGES:
        least, most = _RANGES[name]
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    if name == "hooks":
        return isinstance(value, list) and all(isinstance(one, str) and one.startswith("/") for one in value)
    if name == "rootless":
        return isinstance(value, bool)
    if name in _PATHS:
        return (
            isinstance(value, str)
            and value.startswith("/")
            and value.isprintable()
            and not set(value) & set(UNSAYABLE.split())
        )
    if name in _CHOICES:
        return value in _CHOICES[name]
    return isinstance(value, str) and _is_one_word(value) and not (name == "login_user" and value == "root")


def _is_one_word(value: str) -> bool:
    """Tell whether ``value`` may be an account's name in sshd_config, where a pattern would mean more than one."""
    return bool(value) and value.isascii() and value.isprintable() and not set(value) & set(" \"'\\#*?!%,@")
