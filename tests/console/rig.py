"""A console at work in this process: worker and signer as threads on a real broker, with a scripted relay and device."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connections
from doorward_console.config import Config
from doorward_console.edges.broker import Broker as Link
from doorward_console.edges.doorbell import Bell
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.fleet.models import Device, Relay
from doorward_console.fleet.pairing import pair
from doorward_console.history.models import Chain, Record
from doorward_console.keys.making import ensure_root, ensure_signer_keys, ensure_worker_keys
from doorward_console.keys.opening import SignerKeys, WorkerKeys
from doorward_console.maintenance.asking import turn_off, turn_on
from doorward_console.maintenance.decisions import Ceilings
from doorward_console.maintenance.models import Session
from doorward_console.maintenance.signing import Signer
from doorward_console.signer import look
from doorward_console.worker.events import Rung
from doorward_console.worker.hearing import relay_head
from doorward_console.worker.process import _has_rung, _listen
from doorward_console.worker.relay_links import RelayLinks
from doorward_console.worker.runtime import Runtime

from tests.console.conftest import House, make_house
from tests.parts.mosquitto import Broker
from tests.parts.waiting import wait_until
from tests.worlds.scripted_device import ScriptedDevice
from tests.worlds.scripted_relay import ScriptedRelay


class Worker:
    """One worker: the real runtime and edges, in a thread."""

    def __init__(self, broker: Broker, folder: Path, name: str = "worker-1") -> None:
        certificate, key = broker.client(name).write(folder, name)
        config: Config = replace(
            settings.CONFIG, broker_host=broker.host, broker_port=broker.port, broker_ca=broker.ca_file,
            worker_name=name, worker_certificate=certificate, worker_certificate_key=key,
        )  # fmt: skip
        keys = WorkerKeys(wrapping_key_from_file(settings.CONFIG.worker_key))
        self.links = RelayLinks(keys, relay_head, 10_000)
        self.link = Link(config, self.links.tell)
        self.runtime = Runtime(keys, self.link, self.links)
        self.failed: BaseException | None = None
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run), threading.Thread(target=self._listen)]

    def start(self) -> "Worker":
        self.bell = Bell("worker")
        for thread in self._threads:
            thread.start()
        self.link.start()
        return self

    def stop(self) -> None:
        """End as at SIGTERM; raises what ended it before."""
        self._stopping.set()
        self.bell.stop()
        self.runtime.stop()
        self.links.tell(Rung())
        for thread in self._threads:
            thread.join(10)
        self.link.stop()
        self.links.stop()
        self.bell.close()
        if self.failed is not None:
            raise self.failed

    def _run(self) -> None:
        try:
            self.runtime.run()
        except BaseException as error:  # noqa: BLE001  # shown by the test
            self.failed = error
        finally:
            connections.close_all()

    def _listen(self) -> None:
        _listen(self.bell, self.links, self._stopping)


class SignerThread:
    """The signer, in a thread."""

    def __init__(self) -> None:
        wrapping = wrapping_key_from_file(settings.CONFIG.signer_key)
        self.signer = Signer(SignerKeys(wrapping), Ceilings())
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> "SignerThread":
        self.bell = Bell("signer")
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stopping.set()
        self.bell.stop()
        self._thread.join(10)
        self.bell.close()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                look(self.signer)
                _has_rung(self.bell, self._stopping)
        finally:
            connections.close_all()


@dataclass
class Rig:
    """Everything that a test of the worker needs at hand."""

    house: House
    broker: Broker
    folder: Path
    relay: ScriptedRelay
    device: ScriptedDevice
    worker: Worker
    signer: SignerThread

    @property
    def relay_row(self) -> Relay:
        found: Relay = Relay.objects.get(pk=self.house.device.relay_id)
        return found

    @property
    def device_row(self) -> Device:
        found: Device = Device.objects.get(pk=self.house.device.pk)
        return found

    def session(self) -> Session:
        """Give the device's newest session."""
        found: Session = Session.objects.filter(device=self.house.device).latest("requested_at")
        return found

    def wait_state(self, state: str, limit_s: float = 15) -> Session:
        def is_so() -> bool:
            found = Session.objects.filter(device=self.house.device).order_by("-requested_at").first()
            return found is not None and found.state == state

        try:
            wait_until(is_so, limit_s, f"a session that is {state}")
        except AssertionError as failed:
            found = Session.objects.filter(device=self.house.device).values()
            raise AssertionError(f"{failed} {list(found)} worker failed: {self.worker.failed!r}") from None
        return self.session()

    def on(self) -> None:
        turn_on(self.house.device, self.house.owner, "203.0.113.7", 600, "ticket 4711")

    def off(self) -> None:
        turn_off(self.house.device, self.house.owner, "203.0.113.7")

    def open(self) -> str:
        """Open the door the whole way and give the session's id."""
        seen = len(self.device.orders)
        self.on()
        order = self.device.next_order(seen)
        session: str = order.body.session  # type: ignore[union-attr,assignment]  # a door order
        self.device.obeys(order)
        self.device.says(
            "order.accepted", session, order=order.id, part="door", epoch=0, revision=order.revision.number
        )
        self.device.says("door.opened", session)
        self.relay.says("tunnel.up", session, self.device.device)
        self.relay.says("door.answered", session, self.device.device, ms=3)
        self.wait_state("open")
        return session

    def verbs(self, author: str | None = None) -> list[str]:
        rows = Record.objects.filter(author__startswith=author or f"console:{self.house.project.pk}")
        return list(rows.order_by("n").values_list("verb", flat=True))

    def chain(self, author: str) -> Chain:
        found: Chain = Chain.objects.get(author=author)
        return found

    @property
    def device_author(self) -> str:
        return f"device:{self.device.device}"

    def wait(self, predicate: Callable[[], Any], what: str, limit_s: float = 15) -> Any:
        try:
            return wait_until(predicate, limit_s, what)
        except AssertionError as failed:
            raise AssertionError(f"{failed} worker failed: {self.worker.failed!r}") from None


@contextmanager
def rig_at(broker: Broker, relay: Any, folder: Path) -> Iterator[Rig]:
    """Put a console to work: project, keys, joined and connected device, and ``relay`` paired by its ``line``."""
    house = make_house()
    keep_keys(house)
    paired = pair(house.project, relay.line, "a relay", house.owner, "203.0.113.7")
    device = ScriptedDevice(house.device.pk)
    _join(house, paired, device)
    worker, signer = Worker(broker, folder).start(), SignerThread().start()
    rig = Rig(house, broker, folder, relay, device, worker, signer)
    try:
        device.connect(broker, folder)
        wait_until(worker.link.is_subscribed, 10, "the worker's connection")
        device.ask()
        wait_until(lambda: rig.device_row.ask_count >= device.count, 10, "the first ask")
        yield rig
    finally:
        device.disconnect()
        signer.stop()
        rig.worker.stop()


def keep_keys(house: House) -> None:
    """Make the project's keys, as signer and worker do at their first look."""
    wrapping = wrapping_key_from_file(settings.CONFIG.signer_key)
    ensure_root(wrapping)
    ensure_signer_keys(house.project, wrapping)
    ensure_worker_keys(house.project)


def _join(house: House, relay: Relay, device: ScriptedDevice) -> None:
    row = house.device
    row.relay, row.relay_port, row.identity_key = relay, 22001, device.key.public
    row.presence, row.nonce = "away", ""
    row.save()
    Chain.objects.create(project=house.project, author=f"device:{row.pk}", public_key=device.key.public)
