"""Which of its doors and closers a device uses, and what the door's program reads: chosen anew at each opening."""

from typing import Final

from doorward_runner.config import RunnerConfig
from doorward_runner.contracts import Closer
from doorward_runner.edges import door, embedded
from doorward_runner.edges.cgroup import CgroupCloser
from doorward_runner.edges.door import Door
from doorward_runner.edges.memory import Memory
from doorward_runner.edges.subreaper import SubreaperCloser
from doorward_runner.edges.systemd import SystemdCloser
from doorward_runner.errors import Refused
from doorward_runner.sshd_config import DoorSettings

CLOSERS: Final[tuple[Closer, ...]] = (SystemdCloser(), CgroupCloser(), SubreaperCloser())


def chosen_door(config: RunnerConfig) -> str:
    """Choose the kind of door; refuses with ``door.no-sshd`` where this device has no program for it."""
    lacks = embedded.missing()
    if config.door == "embedded" and lacks is not None:
        raise Refused("door.no-sshd", lacks)
    has_sshd = config.sshd.is_file() and (not config.rootless or door.may_give_terminals())
    if config.door == "embedded" or (config.door == "auto" and lacks is None and not has_sshd):
        return "embedded"
    door.check_sshd(config.sshd)
    return "sshd"


def door_command(config: RunnerConfig, memory: Memory, new: Door) -> list[str]:
    """Write what the door's program reads, and give the program."""
    if new.kind == "embedded":
        embedded.write_settings(new, _settings(config, memory, new))
        return embedded.command(new.folder)
    door.write_config(new, _settings(config, memory, new))
    return door.sshd_command(config.sshd, new)


def _settings(config: RunnerConfig, memory: Memory, new: Door) -> DoorSettings:
    certificate = memory.host_certificate
    return DoorSettings(
        port=new.port,
        login_user=config.login_user,
        banner=new.banner,
        authorized_keys=new.authorized_keys,
        host_key=memory.host_key,
        host_certificate=certificate if certificate.exists() else None,
        has_penalties=new.kind == "sshd" and door.knows_penalties(config.sshd),
        is_rootless=config.rootless,
    )


def chosen_closer(name: str) -> Closer:
    for closer in CLOSERS:
        if name in ("auto", closer.name) and closer.is_possible():
            return closer
    raise Refused("door.not-started", f"closer {name!r} is not possible on this machine")
