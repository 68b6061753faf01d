"""The console under test: its configuration in a scratch folder, SQLite in a file, PostgreSQL where a test asks for it."""

import atexit
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import django
import pytest
from django.conf import settings

from tests.parts.files import scratch_folder, write_whole
from tests.parts.ports import free_port
from tests.parts.postgres import Postgres


def _configure() -> Path:
    """Write a configuration and point Django at it, once, before any model is imported."""
    folder = Path(tempfile.mkdtemp(prefix="doorward-console-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "run").mkdir()
    paths = ("tls_certificate", "tls_key", "web_key", "worker_key", "signer_key", "ceilings", "broker_ca")
    lines = [f'{name} = "{folder}/{name}"' for name in (*paths, "worker_certificate", "worker_certificate_key")]
    lines += [f'database = "sqlite:{folder}/console.sqlite3"', f'data_dir = "{folder}"', f'run_dir = "{folder}/run"']
    write_whole(folder / "console.toml", "\n".join(lines) + "\n")
    for name in ("worker_key", "signer_key"):
        write_whole(folder / name, os.urandom(32), 0o400)
    write_whole(folder / "web_key", os.urandom(32).hex(), 0o400)
    os.environ["DOORWARD_CONSOLE_CONFIG"] = str(folder / "console.toml")
    os.environ["DJANGO_SETTINGS_MODULE"] = "doorward_console.settings"
    settings.DATABASES["default"]["TEST"] = {"NAME": str(folder / "test.sqlite3")}
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.MD5PasswordHasher"
    ]  # quick; what is stored is not tested by it
    django.setup()
    _let_tests_empty_the_records()
    _write_what_is_asked_for_alone()
    return folder


def _write_what_is_asked_for_alone() -> None:
    """Leave out what would be done after each test's rows are emptied and nobody reads, and do not wait for the disk."""
    from django.contrib.contenttypes.management import create_contenttypes
    from django.db.backends.signals import connection_created
    from django.db.models.signals import post_migrate

    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    post_migrate.disconnect(create_contenttypes)
    connection_created.connect(_without_waiting, dispatch_uid="tests")


def _without_waiting(connection: Any, **_: Any) -> None:
    if connection.vendor == "sqlite":
        connection.cursor().execute("PRAGMA synchronous = OFF")


def _let_tests_empty_the_records() -> None:
    """Take the append-only triggers away while a test's rows are emptied, and put them back."""
    from django.db.backends.sqlite3.operations import DatabaseOperations
    from doorward_console.history.triggers import add_statements, drop_statements

    emptying = DatabaseOperations.sql_flush

    def sql_flush(self: Any, *args: Any, **kwargs: Any) -> list[str]:
        return [*drop_statements("sqlite"), *emptying(self, *args, **kwargs), *add_statements("sqlite")]

    DatabaseOperations.sql_flush = sql_flush  # type: ignore[method-assign]  # the one place where rows are emptied


FOLDER = _configure()


@dataclass(frozen=True)
class House:
    """One project with an owner, a joined device, a paired relay and its engineer pair; rows only."""

    project: Any
    owner: Any
    device: Any
    relay: Any
    pair: Any


@pytest.fixture
def run_dir() -> Path:
    """Where doorbells of this test run hang."""
    return FOLDER / "run"


@pytest.fixture
def house(transactional_db: None) -> House:
    """The smallest fleet that can open a door, in a database that really commits."""
    return make_house()


def make_house(name: str = "plant") -> House:
    """Write the rows of a ``House``; keys are made by the tests that need them."""
    from django.utils import timezone
    from doorward_console.fleet.models import Device, Relay
    from doorward_console.keys.models import EngineerPair
    from doorward_console.people.models import Member, Project, User

    project = Project.objects.create(name=name)
    owner = User.objects.create_user(f"owner-of-{name}@example.com", "a long password 1")
    Member.objects.create(project=project, user=owner, role="owner")
    relay = Relay.objects.create(
        project=project, name="relay", host="relay.example.com", ssh_port=2222,
        ssh_host_keys=[ED25519_LINE], paired_at=timezone.now(),
    )  # fmt: skip
    device = Device.objects.create(
        project=project, name="press 1", state="joined", joined_at=timezone.now(), relay=relay, relay_port=22001,
        tunnel_key=ED25519_LINE, presence="connected", nonce="n" * 22, runner_nonce="r" * 22,
    )  # fmt: skip
    pair = EngineerPair.objects.create(project=project, public_key=ED25519_LINE)
    return House(project, owner, device, relay, pair)


ED25519_LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDUaYnQVMAiyX1b1tKjWFMwJ2RB1rd8sQvYB8TCF0cZk"
"""A public key that nobody has the private half of."""


@contextmanager
def _moved_to(url: str) -> Iterator[None]:
    """Move the console of this process to a PostgreSQL database."""
    place = urlsplit(url)
    query = parse_qs(place.query)
    own = {
        "ENGINE": "django.db.backends.postgresql", "NAME": place.path.lstrip("/"), "USER": place.username or "",
        "HOST": query["host"][0], "PORT": query["port"][0], "OPTIONS": {}, "CONN_MAX_AGE": 0,
    }  # fmt: skip
    with moved(**own):
        yield


@contextmanager
def moved(**settings_of_it: Any) -> Iterator[None]:
    """Move the console of this process to a database with these of Django's settings for it, and back."""
    from django.db import connections

    kept, before = connections["default"], connections.settings["default"]
    connections.settings["default"] = dict(before) | settings_of_it
    del connections["default"]
    try:
        yield
    finally:
        connections["default"].close()
        del connections["default"]
        connections.settings["default"], connections["default"] = before, kept


@contextmanager
def on_disk(place: Path) -> Iterator[None]:
    """Move the console of this process to a copy of its database."""
    with closing(sqlite3.connect(FOLDER / "test.sqlite3")) as now, closing(sqlite3.connect(place)) as copy:
        now.backup(copy)
    with moved(NAME=str(place)):
        yield


@pytest.fixture(scope="session")
def migrated(postgres_cluster: Postgres, django_db_blocker: Any) -> str:
    """A database that was migrated once, to be copied: migrating one takes seconds."""
    from django.core.management import call_command

    with django_db_blocker.unblock(), _moved_to(postgres_cluster.new_database("migrated")):
        call_command("migrate", verbosity=0)
    return "migrated"


@pytest.fixture
def on_postgres(postgres_cluster: Postgres, migrated: str, django_db_blocker: Any) -> Iterator[str]:
    """Move the console of this process to an empty, migrated PostgreSQL database for one test; gives its URL."""
    url = postgres_cluster.new_database("doorward", migrated)
    with django_db_blocker.unblock(), _moved_to(url):
        yield url


@pytest.fixture(scope="session")
def standing() -> Iterator[Path]:
    """The configuration of a console that was set up once, whose broker is away: for tests that start its programs."""
    from tests.console.test_init import init  # late: most tests of the console start none

    with scratch_folder() as folder:
        yield init(folder, broker_port=free_port())
