"""Joining: makes this machine a device of a project (protocol.md §9). Run once, by root, at a shell.

In this order: the runner makes the door's host key, the agent makes its own keys, the console certifies them, the
runner pins who may give orders, and last the identity is written: a machine on which any of it failed has not joined.
"""

import json
import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from doorward_protocol import fields
from doorward_protocol.fields import Malformed
from doorward_protocol.joining import JoinLine

from doorward_agent.config import Config
from doorward_agent.edges.console import post_join
from doorward_agent.edges.files import write_whole
from doorward_agent.edges.folders import RUNTIME_DIR, runtime_dir
from doorward_agent.edges.keys import DeviceKeys, new_keys
from doorward_agent.edges.system import facts
from doorward_agent.errors import AlreadyJoined, ConfigError, JoinFailed
from doorward_agent.identity import NAME, Identity, document_from_identity, identity_from_document

COMMAND_LIMIT_S: Final = 60.0
MQTT_CA: Final = "mqtt-ca.pem"
MQTT_CERTIFICATE: Final = "mqtt.pem"


def join(config: Config, line: JoinLine, version: str, *, is_again: bool) -> Identity:
    """Join and give the new identity.

    Raises:
        AlreadyJoined: there is an identity and ``is_again`` is false.
        ConfigError: the agent's user does not exist, or the folder cannot be made.
        JoinFailed: the console or the runner said no, or the console cannot be reached.
    """
    former = _former(config)
    if former is not None and not is_again:
        raise AlreadyJoined(former)
    owner = _owner(config)
    _make_folder(config.state_dir, owner)
    if os.geteuid() == 0 and runtime_dir(config) in (RUNTIME_DIR, config.state_dir / "run"):
        _make_folder(RUNTIME_DIR, owner)
    host_key = _prepare(config)
    keys = new_keys()
    answer = post_join(line, _request(config, keys, host_key, version))
    try:
        identity = identity_from_document(answer)
        if former is not None:
            _set_aside_history(config, former)  # only now: a device that was refused stays what it was
        _write(config, keys, answer)
    except Malformed as error:
        raise JoinFailed("join.malformed", f"In the console's answer, {error}.") from None
    _pin(config, identity, answer, is_again=is_again)
    write_whole(config.state_dir / f"{NAME}.json", json.dumps(document_from_identity(identity)).encode())
    for path in config.state_dir.iterdir():
        _give(path, owner)
    return identity


def _former(config: Config) -> str | None:
    """Give the id under which this device has joined; None where it has not."""
    try:
        return str(json.loads((config.state_dir / f"{NAME}.json").read_bytes()).get("device"))
    except (OSError, ValueError):
        return None


def _set_aside_history(config: Config, former: str) -> None:
    for name in ("journal", "holdings.json", "receipt.json"):  # a new device begins a new history
        path = config.state_dir / name
        if path.exists():
            path.rename(path.with_name(f"{name}.of-{former}-{path.stat().st_mtime_ns}"))


def _owner(config: Config) -> tuple[int, int] | None:
    """Find the agent's user, who will own everything; None where we are no root and it is ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam(config.user)
    except KeyError:
        fault = f"user {config.user} does not exist; make it: useradd --system --shell /usr/sbin/nologin {config.user}"
        raise ConfigError("the configuration", [fault]) from None
    return found.pw_uid, found.pw_gid


def _make_folder(folder: Path, owner: tuple[int, int] | None) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        _give(folder, owner)
    except OSError as error:
        raise ConfigError("the configuration", [f"{folder} cannot be made: {error}"]) from None


def _give(path: Path, owner: tuple[int, int] | None) -> None:
    if owner is not None:
        os.chown(path, *owner, follow_symlinks=False)


def _prepare(config: Config) -> str | None:
    """Let the runner make the door's host key; None where there is no runner."""
    if not Path(config.runner_prepare_command[0]).exists():
        return None
    return str(_run(config.runner_prepare_command, b"").get("door_host_key"))


def _pin(config: Config, identity: Identity, answer: Mapping[str, Any], *, is_again: bool) -> None:
    if not Path(config.runner_pin_command[0]).exists():
        return
    pins = {
        "device": identity.device,
        "project": identity.project,
        "grant_keys": list(identity.grant_keys),
        "host_certificate": answer.get("door_host_certificate"),
    }
    again = ("--again",) if is_again else ()
    _run((*config.runner_pin_command, *again), json.dumps(pins).encode() + b"\n")


def _run(command: Sequence[str], line: bytes) -> Mapping[str, Any]:
    try:
        done = subprocess.run(command, input=line, capture_output=True, timeout=COMMAND_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise JoinFailed("runner.unavailable", f"{command[0]}: {error}.") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise JoinFailed("runner.unavailable", f"{' '.join(command)} ended with {done.returncode}: {said}.")
    try:
        answer = json.loads(done.stdout or b"{}")
    except ValueError:
        answer = None
    return answer if isinstance(answer, dict) else {}


def _request(config: Config, keys: DeviceKeys, host_key: str | None, version: str) -> Mapping[str, Any]:
    return {
        "v": 1,
        "identity": keys.identity.public,
        "tunnel_key": keys.tunnel_line,
        "door_host_key": host_key,
        "mqtt_csr": keys.mqtt_csr,
        "agent": version,
        "facts": dict(facts(config.firmware, config.firmware_file)),
    }


def _write(config: Config, keys: DeviceKeys, answer: Mapping[str, Any]) -> None:
    mqtt = fields.mapping(answer, "mqtt")
    keys.write(config.state_dir)
    write_whole(config.state_dir / MQTT_CA, fields.text(mqtt, "ca", longest=65_536).encode())
    write_whole(config.state_dir / MQTT_CERTIFICATE, fields.text(mqtt, "certificate", longest=65_536).encode())
