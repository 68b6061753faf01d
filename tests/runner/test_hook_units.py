"""Hooks where systemd is the init system: as a unit, which goes on whatever is killed of ours, and is ended before the next.

systemd is not the init system where tests run. A stand-in for its manager runs what ``systemd-run`` is asked for outside of the
runner's processes, and ends it as ``systemctl stop`` does; in a mount namespace two programs that only speak to it take their places.
"""

import array
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from doorward_runner.edges import process_tree

from tests.parts.files import scratch_folder, write_whole
from tests.parts.installed import require
from tests.parts.waiting import wait_until
from tests.runner.hook_bench import Bench, own_user, pid_from
from tests.runner.site import is_running

pytestmark = pytest.mark.real("root", "unshare")

_SPEAKS: Final = """#!{python} -I
import array, json, socket, sys
with socket.socket(socket.AF_UNIX) as manager:
    manager.connect({path!r})
    descriptors = array.array("i", [0, 1, 2]).tobytes()
    manager.sendmsg([json.dumps(sys.argv).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
    sys.exit(int(manager.recv(100) or b"1"))
"""
_PLACES: Final = """
mount -t tmpfs tmpfs /run/systemd; mkdir /run/systemd/system
for program in systemd-run systemctl; do mount --bind {speaks} /usr/bin/$program; done
exec "$@"
"""
_NOT_LOADED: Final = 5
_EXISTS: Final = 1
_EXIT_EXEC: Final = 203


class Manager:
    """Runs units: each once at a time, and nobody's child but ours."""

    def __init__(self, path: Path) -> None:
        self.units: dict[str, subprocess.Popen[bytes]] = {}
        self.asked: list[list[str]] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._answer, args=(self._listening.accept()[0],), daemon=True).start()

    def _answer(self, stream: socket.socket) -> None:
        with stream:
            words, ancillary, _, _ = stream.recvmsg(65_536, socket.CMSG_SPACE(12))
            descriptors = array.array("i", ancillary[0][2]).tolist()
            argv = json.loads(words)
            self.asked.append(argv)
            try:
                status = self._stop(argv[2]) if argv[0].endswith("systemctl") else self._run(argv, descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            with suppress(OSError):  # whoever asked was killed: the unit is none of theirs
                stream.sendall(str(status).encode())

    def _run(self, argv: list[str], descriptors: list[int]) -> int:
        name = next(word.partition("=")[2] for word in argv if word.startswith("--unit="))
        if name in self.units:
            return _EXISTS
        environment = dict(word.split("=", 2)[1:] for word in argv if word.startswith("--setenv="))
        stdin, stdout, stderr = descriptors
        try:
            unit = subprocess.Popen(
                argv[argv.index("--") + 1 :],
                stdin=stdin, stdout=stdout, stderr=stderr, env=environment, cwd="/", start_new_session=True,
            )  # fmt: skip
        except OSError:
            return _EXIT_EXEC
        self.units[name] = unit
        status = unit.wait()
        del self.units[name]
        return status

    def _stop(self, name: str) -> int:
        unit = self.units.get(name)
        if unit is None:
            return _NOT_LOADED
        with suppress(ProcessLookupError):
            os.killpg(unit.pid, signal.SIGKILL)
        wait_until(lambda: name not in self.units, 10, f"{name} to be gone")
        return 0

    def close(self) -> None:
        self._listening.close()
        for name in list(self.units):
            self._stop(name)


@pytest.fixture
def manager() -> Iterator[tuple[Manager, Bench]]:
    """A manager of units, and folders whose runner finds it in systemd's place."""
    with scratch_folder() as folder:
        path, speaks = folder / "manager", folder / "speaks"
        write_whole(speaks, _SPEAKS.format(python=sys.executable, path=str(path)), 0o755)
        places = _PLACES.format(speaks=shlex.quote(str(speaks)))
        before = (str(require("unshare")), "--mount", "--propagation", "private", "/bin/sh", "-ec", places, "sh")
        made = Manager(path)
        try:
            yield made, Bench(folder / "b", own_user(), before).settle()
        finally:
            made.close()


def test_hook_when_systemd_runs_it_then_it_is_a_unit_with_its_limit_and_its_document(manager: Any) -> None:
    """What it says and how it ends comes back as elsewhere."""
    found, bench = manager
    bench.hook("health", 'cat >&2; printf \'{"verb": "%s"}\' "$DOORWARD_VERB"; exit 75')
    ran = bench.run("health", {"verb": "health"}, limit_s=20)
    assert (ran["code"], ran["status"], ran["result"]) == ("hook.try-later", 75, {"verb": "health"})
    assert ran["said"] == '{"verb": "health"}'
    stopped, started = found.asked
    assert stopped[1:] == ["stop", "doorward-hook.service"]
    assert {"--unit=doorward-hook.service", "--property=RuntimeMaxSec=20", "--wait", "--pipe"} <= set(started)


def test_hook_when_everything_of_ours_was_killed_then_its_unit_is_ended_before_the_next_begins(manager: Any) -> None:
    """An apply that nobody of ours watches any more must not go on beside the hook that puts back."""
    _, bench = manager
    bench.hook("settings-apply", 'echo $$ >"$DOORWARD_STATE/pid"; trap "" TERM; while :; do sleep 0.1; done')
    bench.hook(
        "settings-revert", 'if kill -0 "$(cat "$DOORWARD_STATE/pid")"; then echo beside; else echo alone; fi >&2'
    )
    with bench.running("settings-apply") as process:
        hook = wait_until(lambda: pid_from(bench.state / "pid"))
        for pid in (*process_tree.descendants(process.pid), process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert is_running(hook)
    ran = bench.run("settings-revert")
    assert (ran["code"], ran["said"].splitlines()[-1]) == (None, "alone"), ran
    assert not is_running(hook)


def test_hook_when_its_watcher_was_killed_then_its_unit_is_ended_and_that_is_said(manager: Any) -> None:
    """The one who waits for a unit is not the unit."""
    _, bench = manager
    bench.hook("health", 'echo $$ >"$DOORWARD_STATE/pid"; while :; do sleep 0.1; done')
    with bench.running("health") as process:
        hook = wait_until(lambda: pid_from(bench.state / "pid"))
        for pid in process_tree.descendants(process.pid):
            os.kill(pid, signal.SIGKILL)
        assert process.stdout is not None
        assert b"Whoever watched over it was killed" in process.stdout.read()
    assert not is_running(hook)


def test_hook_when_systemd_cannot_execute_it_then_nothing_was_done(manager: Any) -> None:
    """The device maker's first mistake is told as elsewhere."""
    _, bench = manager
    bench.hook("settings-apply", b"#!/no/such/shell\n")
    ran = bench.run("settings-apply")
    assert (ran["code"], ran["status"], "first line" in ran["said"]) == ("hook.not-started", None, True), ran
