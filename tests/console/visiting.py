"""How tests visit the console's pages: as whom, where, and what they find in the database afterwards."""

from datetime import timedelta
from typing import Any

from django.db import connection
from django.test import Client
from django.urls import URLPattern, reverse
from django.utils import timezone
from doorward_console.fleet.models import Device
from doorward_console.history.models import Pending, Record
from doorward_console.maintenance.models import Batch, Command, Intent, Session
from doorward_console.pages import urls
from doorward_console.people.models import Member, Project, User

from tests.console.conftest import FOLDER, House


def client_of(user: User, **options: Any) -> Client:
    """Give a browser in which ``user`` is signed in."""
    client = Client(**options)
    client.force_login(user)
    return client


def address(name: str, house: House) -> str:
    """Give the address called ``name`` for the things of ``house``."""
    member = Member.objects.get(project=house.project, user=house.owner)
    command = reboot_of(house)
    given = {
        "command_id": command.pk,
        "batch_id": command.batch_id,
        "verb": "reboot",
        "project_id": house.project.id,
        "device_id": house.device.id,
        "relay_id": house.relay.id,
        "member_id": member.pk,
        "token_id": 1,
        "forward": "database",
    }
    pattern = next(one for one in urls.urlpatterns if isinstance(one, URLPattern) and one.name == name)
    wanted = pattern.pattern.regex.groupindex if hasattr(pattern.pattern, "regex") else pattern.pattern.converters
    return reverse(name, kwargs={key: given[key] for key in wanted})


def ask(client: Client, method: str, url: str, **data: Any) -> Any:
    """Ask over TLS."""
    return client.get(url, data, secure=True) if method == "GET" else client.post(url, data, secure=True)


def address_of(name: str, project: Project) -> str:
    return reverse(name, kwargs={"project_id": project.id})


def open_session(house: House, **given: Any) -> Session:
    """Write an open session."""
    now = timezone.now()
    standard: dict[str, Any] = {
        "project": house.project, "device": house.device, "relay": house.relay, "relay_port": 22001, "bind": "*",
        "login_user": "remote-admin", "state": "open", "asked_by_name": "aiko@example.com", "requested_at": now,
        "duration_s": 7200, "ends_at": now + timedelta(hours=2), "banner": "b" * 16, "opened_at": now,
    }  # fmt: skip
    made: Session = Session.objects.create(**(standard | given))
    return made


def opened_record(house: House, session: Session, data: dict[str, Any]) -> Record:
    """Write the device's record that it opened a session's door."""
    made: Record = Record.objects.create(
        project=house.project, author=f"device:{house.device.id}", n=1, digest="sha256:x", verb="door.opened",
        session=session.id, device=house.device.id, data=data, envelope=b"",
    )  # fmt: skip
    return made


def reboot_of(house: House) -> Command:
    """Write that the owner asked some devices, of which this is one, to restart."""
    same = {"project": house.project, "verb": "reboot", "by_name": "aiko@example.com"}
    soon = timezone.now() + timedelta(hours=1)
    batch = Batch.objects.create(expires_at=soon, **same)
    made: Command = Command.objects.create(device=house.device, batch=batch, expires_at=soon, **same)
    return made


def dump_of_database() -> str:
    """Give everything that the database's file holds, as text."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return (FOLDER / "test.sqlite3").read_bytes().decode("latin-1")


def deeds() -> tuple[int, int, int]:
    """Count what anybody may have done."""
    return Pending.objects.count(), Intent.objects.count(), Device.objects.count()
