"""The half of ``init`` that needs the database: tables, root CA, first owner, first project and its keys."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.conf import settings
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from doorward_console.config import Config
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.history.writing import note
from doorward_console.keys.making import ensure_root, ensure_signer_keys, ensure_worker_keys
from doorward_console.keys.opening import SignerKeys
from doorward_console.keys.x509 import CLIENT, DEVICE_DAYS, SERVER, WEB_DAYS, Issued
from doorward_console.people.models import Member, Project, Role, User

_BY: Final = {"by": "doorward-console init", "from": "the console's own machine"}


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the root certifies at the beginning."""

    root_pem: str
    web: Issued
    broker: Issued
    worker: Issued


def migrate_and_fill(owner: str, password: str, project_name: str) -> None:
    """Make tables, root, owner and project; runs as who may read both wrapping keys."""
    call_command("migrate", verbosity=0)
    signer_key = wrapping_key_from_file(settings.CONFIG.signer_key)
    ensure_root(signer_key)
    with transaction.atomic():
        user = User.objects.create_user(owner, password)
        project = Project.objects.create(name=project_name)
        Member.objects.create(project=project, user=user, role=Role.OWNER)
        note(project, "project.created", data=_BY | {"name": project_name})
        note(project, "member.added", data=_BY | {"member": user.email, "role": str(Role.OWNER)})
    ensure_signer_keys(project, signer_key)
    ensure_worker_keys(project)


def certificates(config: Config, web_hosts: tuple[str, ...]) -> Certificates:
    """Have the root certify web, broker and worker."""
    root = SignerKeys(wrapping_key_from_file(config.signer_key)).root_ca()
    now: datetime = timezone.now()
    broker_hosts = tuple(dict.fromkeys((config.broker_host, "localhost", "127.0.0.1")))
    return Certificates(
        root_pem=root.certificate_pem,
        web=root.issue(web_hosts[0], SERVER, now, WEB_DAYS, hosts=web_hosts),
        broker=root.issue(config.broker_host, SERVER, now, DEVICE_DAYS, hosts=broker_hosts),
        worker=root.issue(config.worker_name, CLIENT, now, DEVICE_DAYS),
    )
