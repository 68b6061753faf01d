"""Runners of the tests: real users, real sudo, real sshd; removed afterwards."""

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.parts.accounts import remove_account
from tests.parts.files import scratch_folder, write_whole
from tests.parts.installed import missing
from tests.parts.processes import Programs, run
from tests.runner.programs import RUNNER, UNITS
from tests.runner.site import Site

ACTIVATE: Final = Path("/usr/bin/systemd-socket-activate")
"""Listens and starts a program for each connection; works also where systemd is not the init system."""


@dataclass(frozen=True, slots=True)
class Users:
    """Two accounts of this machine, for as long as the tests run."""

    login: str
    agent: str


@pytest.fixture(scope="session")
def users() -> Iterator[Users]:
    """An account for engineers and one for the agent; the test's own, so that no account that exists is touched."""
    for part in ("root", "useradd", "sudo", "sshd", "ssh"):
        reason = missing(part)
        if reason is not None:
            pytest.skip(reason)
    mark = secrets.token_hex(3)
    made = Users(f"dwlogin{mark}", f"dwagent{mark}")
    try:
        for name in (made.login, made.agent):
            added = run(["/usr/sbin/useradd", "--create-home", "--shell", "/bin/sh", "--password", "*", name])
            assert added.returncode == 0, added.stderr.decode()
        yield made
    finally:
        for name in (made.login, made.agent):
            remove_account(name)


@pytest.fixture(scope="module", params=["cgroup", "subreaper"])
def closer(request: pytest.FixtureRequest) -> str:
    """Each closer that can work here; systemd is not the init system of a test machine."""
    name: str = request.param
    if name == "cgroup" and (reason := missing("cgroup")):
        pytest.skip(reason)
    return name


@pytest.fixture(scope="module", params=["sshd", "embedded"])
def door(request: pytest.FixtureRequest) -> str:
    """Each kind of door."""
    kind: str = request.param
    return kind


def _site(users: Users, closer: str, door: str) -> Iterator[Site]:
    with scratch_folder() as folder:
        site = Site(folder, users.login, users.agent, closer, door)
        sudoers = Path("/etc/sudoers.d") / f"doorward-{secrets.token_hex(4)}"
        rule = f"{users.agent} ALL=(root) NOPASSWD: {RUNNER} --config {site.config}\n"
        write_whole(sudoers, rule, 0o440)
        try:
            site.settle()
            yield site
        finally:
            site.as_root("clear")
            site.end_timers()
            sudoers.unlink()


@pytest.fixture
def site(users: Users) -> Iterator[Site]:
    """A joined runner with the closer and the door that it chooses itself."""
    yield from _site(users, "auto", "auto")


@pytest.fixture
def door_site(users: Users, door: str) -> Iterator[Site]:
    """A joined runner, once with each door."""
    yield from _site(users, "auto", door)


@pytest.fixture
def embedded_site(users: Users) -> Iterator[Site]:
    """A joined runner with the embedded door."""
    yield from _site(users, "auto", "embedded")


@pytest.fixture
def rootless_site(users: Users, door: str) -> Iterator[Site]:
    """A joined runner without root, in a folder with spaces in its name below /tmp, where others may write."""
    top = Path(tempfile.mkdtemp(prefix="doorward-test-", dir="/tmp"))
    folder = top / "a folder, with 'spaces' & co"
    folder.mkdir()
    for path in (top, folder):
        shutil.chown(path, users.login, users.login)
    site = Site(folder, users.login, users.login, "subreaper", door, is_rootless=True)
    try:
        site.settle()
        yield site
    finally:
        site.as_root("clear")
        shutil.rmtree(top)


@pytest.fixture
def closing_site(users: Users, closer: str, door: str) -> Iterator[Site]:
    """A joined runner, once with each closer and each door."""
    yield from _site(users, closer, door)


@pytest.fixture(scope="module", params=["sshd", "embedded"])
def lasting_site(users: Users, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A joined runner for a whole module of tests that leave nothing open; once with each door."""
    yield from _site(users, "auto", request.param)


@pytest.fixture
def runner_socket(site: Site, programs: Programs) -> Iterator[Path]:
    """The shipped unit's socket, with the rights that the unit gives it."""
    if not ACTIVATE.exists():
        pytest.skip(f"needs {ACTIVATE.name}: apt install systemd")
    unit = dict(re.findall(r"^(\w+)=(.*)$", (UNITS / "doorward-runner.socket").read_text(), re.MULTILINE))
    assert (unit["Accept"], unit["SocketUser"]) == ("yes", "doorward-agent")
    path = site.run_dir / "socket"
    listening = programs.start(
        ACTIVATE, "--accept", "--inetd", "--listen", path, RUNNER, "--config", site.config, name="socket"
    )
    listening.wait_for(path.exists, 10, "the socket")
    os.chown(path, uid_of(site.agent_user), 0)
    path.chmod(int(unit["SocketMode"], 8))
    try:
        yield path
    finally:
        print(listening.log_text())  # pytest shows it for a test that failed


def uid_of(user: str) -> int:
    return int(run(["/usr/bin/id", "-u", user]).stdout)
