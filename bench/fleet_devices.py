"""Devices for ``bench/fleet.py``: hundreds in one process, each with a certificate, an identity and a chain of its own.

Each is the agent's own runtime: machine, policy, history and codec, with the kernel's clocks and real signatures. Swapped are the edges: one
small MQTT connection each on this process's loop instead of paho's thread, and the runner, tunnel and disk of ``tests/worlds``, which
pass the same contract tests as the real ones. Told by lines on standard input; what a relay would see of an opening is told on
standard output.
"""

import asyncio
import json
import random
import secrets
import ssl
import sys
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from doorward_agent import effects as do
from doorward_agent import events
from doorward_agent.contracts import Edges
from doorward_agent.edges.system import SystemClock
from doorward_agent.events import Event
from doorward_agent.identity import Identity
from doorward_agent.runtime import Runtime
from doorward_agent.signing import Signing
from doorward_protocol.commands import Outcome
from doorward_protocol.ids import DeviceId, ProjectId
from doorward_protocol.signature import SigningKey
from doorward_protocol.targets import Offered
from doorward_protocol.topics import TO_DEVICE, topic

from bench.mqtt_device import Link
from tests.worlds.device import WorldJournal, WorldRehearser, WorldRunner, WorldStore, WorldTunnel

HOOK_S: Final = 0.2
"""What a runner and a hook that does nothing take on a small device."""
_LONGEST_S: Final = 28_800
_JOURNAL_BYTES: Final = 8_388_608


class Later:
    """An inbox that is filled after a while, for what a command is answered with."""

    def __init__(self, events_of: "asyncio.Queue[Event | asyncio.Future[None]]") -> None:
        self._events = events_of

    def append(self, event: Event, /) -> None:
        wait_s = HOOK_S if isinstance(event, events.CommandTold) and event.outcome is not None else 0
        asyncio.get_running_loop().call_later(wait_s, self._events.put_nowait, event)


class FleetSystem:
    """``contracts.System`` of a machine that never was."""

    def __init__(self) -> None:
        self.boot = secrets.token_hex(16)
        self.forwards: tuple[Offered, ...] = ()

    def facts(self) -> Mapping[str, str]:
        return {"hostname": "press", "os": "bench", "arch": "none", "firmware": "1"}

    def chance(self) -> float:
        return random.random()

    def nonce(self) -> str:
        return secrets.token_urlsafe(16)

    def free_port(self) -> int:
        return 40_000 + secrets.randbelow(20_000)


class LinkBroker:
    """``contracts.Broker`` on a connection of this process's loop."""

    def __init__(self, device: DeviceId, inbox: Later, place: tuple[str, int], context: ssl.SSLContext) -> None:
        self._device, self._inbox, self._place, self._context = device, inbox, place, context
        self._link = Link(self._heard)
        self._staying: asyncio.Task[None] | None = None
        self.sends: set[asyncio.Task[None]] = set()
        self._generation = 0

    def connect(self, generation: int) -> None:
        self._generation = generation
        self._staying = asyncio.get_running_loop().create_task(self._stay(generation))

    def disconnect(self) -> None:
        if self._staying is not None:
            self._staying.cancel()

    def publish(self, leaf: str, payload: bytes, *, retain: bool = False, record: int | None = None) -> None:
        sending = asyncio.get_running_loop().create_task(self._send(leaf, payload, retain=retain, record=record))
        self.sends.add(sending)
        sending.add_done_callback(self.sends.discard)

    async def _stay(self, generation: int) -> None:
        why = "closed"
        try:
            topics = [topic(self._device, leaf) for leaf in TO_DEVICE]
            await self._link.connect(*self._place, self._context, self._device, topics)
            self._inbox.append(events.BrokerConnected(generation))
            await self._link.follow()
        except OSError as error:
            why = str(error)
        self._inbox.append(events.BrokerLost(generation, why))

    async def _send(self, leaf: str, payload: bytes, *, retain: bool, record: int | None) -> None:
        generation = self._generation
        with suppress(OSError):  # the connection broke meanwhile; the runtime says it again when it is back
            await self._link.publish(topic(self._device, leaf), payload, retain=retain)
            if record is not None:
                self._inbox.append(events.RecordDelivered(generation, record))

    def _heard(self, name: str, payload: bytes) -> None:
        self._inbox.append(events.MessageArrived(name.rpartition("/")[2], payload))


class Simulated:
    """One device: an agent's runtime and the edges that it has here."""

    def __init__(self, plan: dict[str, Any], place: dict[str, Any]) -> None:
        self.device, self.key = DeviceId(plan["device"]), SigningKey.generate()
        self._events: asyncio.Queue[Event | asyncio.Future[None]] = asyncio.Queue()
        inbox = Later(self._events)
        context = ssl.create_default_context(cafile=place["ca"])
        context.load_cert_chain(plan["certificate"], plan["key"])
        self._broker = LinkBroker(self.device, inbox, (place["host"], place["port"]), context)
        outcome = Outcome(None, 0, "", {"healthy": True, "checks": []}, round(HOOK_S * 1000))
        self._runner = WorldRunner(inbox, verbs=("health",), outcome=outcome, nonce_now=secrets.token_urlsafe(16))
        self._tunnel = WorldTunnel(inbox)
        edges = Edges(
            SystemClock(), FleetSystem(), self._broker, self._runner, self._tunnel, WorldRehearser(inbox),
            WorldJournal(), WorldStore(),
        )  # fmt: skip
        keys = (place["grant_key"],), (place["record_key"],)
        identity = Identity(self.device, ProjectId(place["project"]), "press", *keys, place["host"], place["port"])
        signing = Signing(identity, _LONGEST_S, place["login_user"], self.key.raw)
        self._runtime = Runtime(identity, signing, edges, "0", _JOURNAL_BYTES)
        self.is_there = asyncio.Event()

    async def live(self) -> None:
        """Run the agent's loop: an event or a timer at a time."""
        self._runtime.start()
        while True:
            asked: asyncio.Future[None] | None = None
            with suppress(asyncio.TimeoutError):
                event = await asyncio.wait_for(self._events.get(), self._runtime.wait_s)
                if isinstance(event, asyncio.Future):
                    asked = event
                    self._runtime.timers[do.ASK] = 0
                else:
                    self._handle(event)
            self._runtime.fire_timers()
            if asked is not None:
                asked.set_result(None)

    def _handle(self, event: Event) -> None:
        calls, was_up = len(self._runner.calls), self._tunnel.is_up
        self._runtime.handle(event)
        if len(self._runner.calls) > calls:  # an order that the runner took has used up its nonce
            self._runner.nonce_now = secrets.token_urlsafe(16)
        if self._tunnel.is_up and not was_up and self._tunnel.dial is not None:
            print(json.dumps({"door.opened": self._tunnel.dial.session, "device": self.device}), flush=True)
        if isinstance(event, events.BrokerConnected):
            self.is_there.set()

    async def ask(self) -> None:
        """Have it ask as it does every five minutes, and wait until the broker has it."""
        asked = asyncio.get_running_loop().create_future()
        self._events.put_nowait(asked)
        await asked
        await asyncio.gather(*self._broker.sends)


async def main() -> None:
    place = json.loads(await asyncio.to_thread(Path(sys.argv[1]).read_text))
    fleet = [Simulated(one, place) for one in place["devices"]]
    print(json.dumps({"keys": {one.device: one.key.public for one in fleet}}), flush=True)
    living: list[asyncio.Task[None]] = []
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        if asked["do"] == "connect":
            living += [asyncio.create_task(_loudly(one.live())) for one in fleet[len(living) : asked["devices"]]]
            await asyncio.gather(*(one.is_there.wait() for one in fleet[: asked["devices"]]))
        else:
            await asyncio.gather(*(one.ask() for one in fleet[: asked["devices"]]))
        print(json.dumps({"done": asked["do"]}), flush=True)
    for one in living:
        one.cancel()


async def _loudly(what: Coroutine[Any, Any, None]) -> None:
    """Let a device's mistake be seen: nobody waits for its task."""
    try:
        await what
    except Exception as error:
        print(f"a device ended: {error!r}", file=sys.stderr, flush=True)
        raise


if __name__ == "__main__":
    asyncio.run(main())
