"""Devices for ``bench/fleet.py``: hundreds in one process, each with a certificate, an identity and a chain of its own.

They ask, obey, sign their records and dial again with the agent's own pauses; there is no door behind them, and no hook. Told by lines
on standard input; what a relay would see of an opening is told on standard output.
"""

import asyncio
import json
import random
import secrets
import ssl
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from doorward_agent.policy import retry_delay_ms
from doorward_agent.runtime import ASK_AGAIN_MS
from doorward_protocol.commands import Outcome, RunCommand
from doorward_protocol.envelope import decode
from doorward_protocol.ids import DeviceId
from doorward_protocol.orders import OpenDoor, Order, order_from_payload
from doorward_protocol.topics import TO_DEVICE, topic

from bench.mqtt_device import Link
from tests.worlds.scripted_device import ScriptedDevice

HOOK_S: Final = 0.2
"""What a runner and a hook that does nothing take on a small device."""


class Simulated:
    """One device: what ``ScriptedDevice`` holds, on a connection of this process's loop."""

    def __init__(self, plan: dict[str, Any], place: dict[str, Any]) -> None:
        self.holds = ScriptedDevice(DeviceId(plan["device"]), verbs=("health",))
        self.context = ssl.create_default_context(cafile=place["ca"])
        self.context.load_cert_chain(plan["certificate"], plan["key"])
        self.link = Link(self._heard)
        self._place = (place["host"], place["port"])
        self._sends: set[asyncio.Task[None]] = set()
        self.is_there = asyncio.Event()

    async def keep(self) -> None:
        """Stay connected, as the agent does: a pause with jitter that doubles up to a minute."""
        failures = 0
        while True:
            self.is_there.clear()
            with suppress(OSError):
                await self._stay()
            failures = 1 if self.is_there.is_set() else failures + 1
            await asyncio.sleep(retry_delay_ms(failures, random.random()) / 1000)

    async def _stay(self) -> None:
        """Connect, and stay until the connection breaks."""
        topics = [topic(self.holds.device, leaf) for leaf in TO_DEVICE]
        await self.link.connect(*self._place, self.context, self.holds.device, topics)
        self.is_there.set()
        self._later(self._arrived())
        await self.link.follow()

    async def _arrived(self) -> None:
        await self._send("presence", b'{"state": "connected"}', retain=True)
        await self.ask()
        await asyncio.sleep(ASK_AGAIN_MS * (1 + random.random()) / 1000)
        await self.ask()

    async def ask(self) -> None:
        await self._send("ask", self.holds.ask_bytes())

    def _heard(self, name: str, payload: bytes) -> None:
        if name.endswith("/order"):
            self._later(self._obey(payload))

    async def _obey(self, payload: bytes) -> None:
        order = order_from_payload(decode(payload, expected="order").payload)
        if isinstance(order.body, RunCommand):
            await self._run(order, order.body)
        else:
            await self._move_door(order)

    async def _run(self, order: Order, body: RunCommand) -> None:
        """Say that the command began, take the time of a hook, and say how it went: each with an ask, as the agent does."""
        named = {"command": body.command, "verb": body.verb}
        self.holds.obeys(order)
        about: dict[str, Any] = {"order": order.id, "part": "command", "epoch": 0, "revision": order.revision.number}
        await self._send("record", self.holds.record("order.accepted", **about))
        await self._send("record", self.holds.record("command.begun", **named, order=order.id))
        await self.ask()
        await asyncio.sleep(HOOK_S)
        outcome = Outcome(None, 0, "", {"healthy": True, "checks": []}, round(HOOK_S * 1000))
        await self._send("record", self.holds.record("command.done", **named, **outcome._asdict()))
        self.holds.runner_nonce = secrets.token_urlsafe(16)
        await self.ask()

    async def _move_door(self, order: Order) -> None:
        session, number = order.body.session, order.revision.number  # type: ignore[union-attr]  # doors alone
        is_open = isinstance(order.body, OpenDoor)
        self.holds.obeys(order)
        accepted = {"order": order.id, "part": "door", "epoch": 0, "revision": number}
        verb = "door.opened" if is_open else "door.closed"
        if not is_open:
            accepted["state"] = "shut"
        for envelope in (self.holds.record("order.accepted", session, **accepted), self.holds.record(verb, session)):
            await self._send("record", envelope)
        print(json.dumps({verb: session, "device": self.holds.device}), flush=True)
        await self.ask()

    async def _send(self, leaf: str, payload: bytes, *, retain: bool = False) -> None:
        await self.link.publish(topic(self.holds.device, leaf), payload, retain=retain)

    def _later(self, what: Any) -> None:
        task = asyncio.get_running_loop().create_task(_quietly(what))
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)


async def _quietly(what: Any) -> None:
    with suppress(OSError):  # the connection broke meanwhile; the device says it again when it is back
        await what


async def main() -> None:
    place = json.loads(await asyncio.to_thread(Path(sys.argv[1]).read_text))
    fleet = [Simulated(one, place) for one in place["devices"]]
    print(json.dumps({"keys": {one.holds.device: one.holds.key.public for one in fleet}}), flush=True)
    keeping: list[asyncio.Task[None]] = []
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        if asked["do"] == "connect":
            keeping += [asyncio.create_task(one.keep()) for one in fleet[len(keeping) : asked["devices"]]]
            await asyncio.gather(*(one.is_there.wait() for one in fleet[: asked["devices"]]))
        else:
            await asyncio.gather(*(_quietly(one.ask()) for one in fleet[: asked["devices"]]))
        print(json.dumps({"done": asked["do"]}), flush=True)
    for one in keeping:
        one.cancel()


if __name__ == "__main__":
    asyncio.run(main())
