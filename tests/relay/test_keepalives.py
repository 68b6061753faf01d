"""An embedded relay's keep-alives: who is silent is spoken to, no two in one rhythm, and a packet costs the loop no timer."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest
from doorward_protocol.ids import SessionId
from doorward_relay.edges.embedded.server import Server
from doorward_relay.reaper import KEEPALIVE_S, keepalive_s

from tests.relay.relaying import SshCa
from tests.relay.test_embedded_moments import config_in, unavailable
from tests.relay.test_ledger import NOW, grant

FEW = 4


def test_keepalives_when_a_fleet_dialled_in_one_instant_then_few_are_due_together() -> None:
    """Whoever types waits for what is sent in one go: of 5,000 connections never more than a handful in 5 ms."""
    due = sorted(round(keepalive_s(number) * 1000) // 5 for number in range(1, 5_001))
    assert max(due.count(one) for one in set(due)) <= 15  # 12.5 on average
    assert all(KEEPALIVE_S - 2 <= keepalive_s(number) <= KEEPALIVE_S for number in range(5_001))


def test_keepalives_when_devices_log_in_together_then_each_has_an_interval_of_its_own(scratch: Path) -> None:
    """Half a second lies between the first and the last of four, at least."""

    async def spread_s() -> float:
        async with _dialled(scratch, FEW):
            due = [one.when() for one in _timers() if not one.cancelled()]
        assert len(due) == FEW
        return max(due) - min(due)

    assert asyncio.run(spread_s()) > 0.5


def test_keepalives_when_packets_come_then_no_timer_is_made_for_each(scratch: Path) -> None:
    """asyncio goes through all cancelled timers in one go, 30 ms with thousands of connections."""

    async def cancelled() -> int:
        async with _dialled(scratch, 1) as (one,):
            before = sum(each.cancelled() for each in _all_timers())
            for _ in range(15):
                await one.run("hello")
            return sum(each.cancelled() for each in _all_timers()) - before

    assert asyncio.run(cancelled()) < 10  # 45 and more


def test_a_silent_device_when_the_interval_is_over_then_it_is_spoken_to(
    scratch: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One that was heard meanwhile has the rest of its time, and then its turn."""
    asyncssh.set_debug_level(2)

    async def spoken() -> None:
        async with _dialled(scratch, 1) as (one,):
            caplog.set_level(logging.DEBUG, "asyncssh")  # a relay that serves has made it silent
            loop = asyncio.get_running_loop()
            held = next(each._callback.__self__ for each in _timers())  # type: ignore[attr-defined]
            held.set_keepalive(2)
            await asyncio.sleep(1)
            assert "keepalive" not in caplog.text
            await one.run("hello")
            heard_at = loop.time()
            while "Received OpenSSH keepalive request" not in caplog.text:
                assert loop.time() - heard_at < 20
                await asyncio.sleep(0.02)
            assert loop.time() - heard_at > 1.4

    try:
        asyncio.run(spoken())
    finally:
        asyncssh.set_debug_level(1)


def _timers() -> list[asyncio.TimerHandle]:
    """Give the loop's timers that are keep-alives' and will come."""
    return [one for one in _all_timers() if "_keepalive_timer_callback" in repr(one)]


def _all_timers() -> list[asyncio.TimerHandle]:
    """Give what the loop holds, cancelled ones too; of those it is not known any more what they were for."""
    held: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return held


@asynccontextmanager
async def _dialled(folder: Path, n: int) -> AsyncIterator[list[asyncssh.SSHClientConnection]]:
    """Stand up a relay in this process, and log in ``n`` devices that say nothing by themselves."""
    config, authority = config_in(folder), SshCa()
    granted = [replace(grant(), session=SessionId(f"s-{number}")) for number in range(n)]
    server = Server(config, lambda: NOW)
    server.trust(authority.public_line)
    server.admit(granted)
    serving = asyncio.create_task(server.keep(unavailable))
    dialled: list[asyncssh.SSHClientConnection] = []
    try:
        await asyncio.sleep(0)
        key = asyncssh.generate_private_key("ssh-ed25519")
        for one in granted:
            certificate = authority.certify(key.export_public_key().decode(), [one.session])
            dialled.append(
                await asyncssh.connect(
                    "127.0.0.1",
                    config.ssh_port,
                    username=config.tunnel_user,
                    config=None,
                    agent_path=None,
                    client_keys=[(key, asyncssh.import_certificate(certificate))],
                    known_hosts=None,
                )
            )
        yield dialled
    finally:
        for link in dialled:
            link.abort()
        server.stop()
        serving.cancel()
