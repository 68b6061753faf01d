"""Three PostgreSQL roles: what each process needs works, and what it must not do is refused by the database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.core.management import call_command
from django.db import ProgrammingError, connection, transaction
from django.db.backends.signals import connection_created
from doorward_console.commands.roles import statements
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.fleet.models import Device, JoinToken
from doorward_console.history.models import Pending, Record
from doorward_console.history.writing import note
from doorward_console.keys.making import ensure_root, ensure_signer_keys, ensure_worker_keys
from doorward_console.keys.models import Key
from doorward_console.keys.opening import SignerKeys, has_key, public_part
from doorward_console.maintenance.asking import extend, turn_off, turn_on
from doorward_console.maintenance.blocking import block, unblock
from doorward_console.maintenance.decisions import Ceilings
from doorward_console.maintenance.models import Intent, Order, Session
from doorward_console.maintenance.signing import Signer
from doorward_console.signer import look

from tests.console.conftest import FOLDER, House, make_house
from tests.console.test_enrolling import enrolment_of, token_of

HERE = "203.0.113.7"
PREFIX = "dwtest"


@pytest.fixture
def roles(on_postgres: str) -> Iterator[House]:
    """A database with a house, all keys, and the three roles; the roles are dropped afterwards."""
    house = make_house()
    wrapping = wrapping_key_from_file(FOLDER / "signer_key")
    ensure_root(wrapping)
    ensure_signer_keys(house.project, wrapping)
    ensure_worker_keys(house.project)
    apply_roles()
    yield house
    with connection.cursor() as cursor:
        for name in ("web", "worker", "signer"):
            cursor.execute(f'DROP OWNED BY "{PREFIX}-{name}"')
            cursor.execute(f'DROP ROLE "{PREFIX}-{name}"')


def apply_roles() -> None:
    with connection.cursor() as cursor:
        cursor.execute("\n".join(line for line in statements(PREFIX) if line not in {"BEGIN;", "COMMIT;"}))


@contextmanager
def acting_as(process: str) -> Iterator[None]:
    """Have only the rights of a process's role, also after a reconnect, which the signer does at each look."""

    def become(**_: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f'SET ROLE "{PREFIX}-{process}"')

    connection_created.connect(become)
    become()
    try:
        yield
    finally:
        connection_created.disconnect(become)
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")


def refused(act: Callable[[], object]) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
        act()


def signer() -> Signer:
    return Signer(SignerKeys(wrapping_key_from_file(FOLDER / "signer_key")), Ceilings())


@pytest.mark.real("postgres")
def test_roles_when_used_then_web_asks_and_signer_signs(roles: House) -> None:
    """The whole way of an opening, its extension and its end works with each process's own rights."""
    with acting_as("web"):
        turn_on(roles.device, roles.owner, HERE, 600)
    with acting_as("signer"):
        look(signer())
    assert Session.objects.get().state == "opening", Intent.objects.values()
    with acting_as("web"):
        extend(roles.device, roles.owner, HERE, 900)
    with acting_as("signer"):
        look(signer())
    with acting_as("web"):
        turn_off(roles.device, roles.owner, HERE)
        block(roles.device, roles.owner, HERE)
        unblock(roles.device, roles.owner, HERE)
    with acting_as("signer"):
        look(signer())
    assert not Intent.objects.filter(state="asked").exists()
    assert Order.objects.filter(state="signed").exists()
    with acting_as("web"):
        assert has_key("grant", roles.project.id)
        assert public_part("grant", roles.project.id)


@pytest.mark.real("postgres")
def test_roles_when_a_device_joins_then_web_enrols_and_signer_certifies(roles: House) -> None:
    """The signer reads the token, answers the enrolment and writes the join down with its own rights."""
    Device.objects.update(state=Device.State.ADDED, joined_at=None)
    with acting_as("web"):
        enrolment = enrolment_of(roles.device, token_of(roles.device))
    with acting_as("signer"):
        look(signer())
        refused(lambda: JoinToken.objects.update(used_at=None))
    enrolment.refresh_from_db()
    assert (enrolment.state, enrolment.code) == ("certified", "")
    assert Pending.objects.filter(verb="device.joined").exists()


@pytest.mark.real("postgres")
@pytest.mark.threat("web-process-reads-keys", "web-process-history", "web-process-ceilings")
def test_web_role_when_it_oversteps_then_refused(roles: House) -> None:
    """Web reads no wrapped key, writes no record, session, grant or order, and takes no note back."""
    note(roles.project, "project.changed")
    with acting_as("web"):
        refused(lambda: list(Key.objects.values_list("wrapped")))
        refused(lambda: Key.objects.create(project=None, kind="grant", holder="signer", public="", wrapped=b""))
        refused(
            lambda: Record.objects.create(project=roles.project, author="x", n=1, digest="", verb="x", envelope=b"")
        )
        refused(lambda: Record.objects.all().delete())
        refused(lambda: Pending.objects.all().delete())
        refused(lambda: Pending.objects.update(verb="session.off"))
        refused(
            lambda: Order.objects.create(device=roles.device, part="door", nonce="n", state="signed", envelope=b"x")
        )
        refused(lambda: Session.objects.update(state="open", ends_at="2099-01-01T00:00:00Z"))


@pytest.mark.real("postgres")
def test_worker_role_when_it_oversteps_then_refused(roles: House) -> None:
    """The worker cannot ask in anybody's name, nor sign, nor change a record."""
    with acting_as("worker"):
        refused(lambda: turn_on(roles.device, roles.owner, HERE))
        refused(lambda: Intent.objects.update(state="done"))
        refused(lambda: Record.objects.update(verb="x"))
        Device.objects.update(presence="away")


@pytest.mark.real("postgres")
def test_signer_role_when_it_oversteps_then_refused(roles: House) -> None:
    """The signer signs what is asked and cannot ask, join or name people itself."""
    with acting_as("signer"):
        refused(lambda: turn_on(roles.device, roles.owner, HERE))
        refused(lambda: Device.objects.update(tunnel_key="x"))
        refused(roles.owner.save)


@pytest.mark.real("postgres")
def test_roles_when_applied_again_then_nothing_changes(roles: House) -> None:
    """The statements can be run again after an update, when tables were added."""
    call_command("migrate", verbosity=0)
    apply_roles()
