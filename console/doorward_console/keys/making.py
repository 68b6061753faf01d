"""Making keys: each holder makes its own, when it sees a project that has none.

The unique constraint of ``Key`` decides when two processes make one at once: the second's is thrown away.
"""

from collections.abc import Callable
from datetime import datetime

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from doorward_protocol.signature import SigningKey

from doorward_console.edges.doorbell import ring
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.keys.models import Key
from doorward_console.keys.opening import SignerKeys, has_key, name_of
from doorward_console.keys.ssh import SshAuthority
from doorward_console.keys.wrapping import WrappingKey
from doorward_console.keys.x509 import new_root, new_self_signed_client
from doorward_console.people.models import Project

SIGNER_KINDS = (Key.Kind.GRANT, Key.Kind.DEVICE_CA, Key.Kind.TUNNEL_CA, Key.Kind.HOST_CA)
WORKER_KINDS = (Key.Kind.RECORD, Key.Kind.CONTROL)

Pair = tuple[str, bytes]
"""The public half as it is stored, and the private one before it is wrapped."""


def ensure_root(wrapping: WrappingKey) -> None:
    """Make the installation's root CA if there is none; the signer's."""
    _ensure(wrapping, Key.Holder.SIGNER, Key.Kind.ROOT_CA, None, _root)


def ensure_signer_keys(project: Project, wrapping: WrappingKey) -> None:
    """Make those of the project's keys that the signer holds and that are not there."""
    makers: dict[str, Callable[[], Pair]] = {
        Key.Kind.GRANT: _signing_pair,
        Key.Kind.DEVICE_CA: lambda: _device_ca(project, wrapping),
        Key.Kind.TUNNEL_CA: _ssh_pair,
        Key.Kind.HOST_CA: _ssh_pair,
    }
    for kind, make in makers.items():
        _ensure(wrapping, Key.Holder.SIGNER, kind, project, make)


def ensure_worker_keys(project: Project, wrapping: WrappingKey | None = None) -> None:
    """Make those of the project's keys that the worker holds and that are not there.

    Raises:
        BadKeyFile: ``wrapping`` is not given and the worker's key file cannot be used.
    """
    wrapping = wrapping or wrapping_key_from_file(settings.CONFIG.worker_key)
    makers: dict[str, Callable[[], Pair]] = {
        Key.Kind.RECORD: _signing_pair,
        Key.Kind.CONTROL: lambda: _control(project),
    }
    for kind, make in makers.items():
        _ensure(wrapping, Key.Holder.WORKER, kind, project, make)


def projects_without(kinds: tuple[str, ...]) -> list[Project]:
    """List projects that lack a live key of one of ``kinds``."""
    lacking = []
    for project in Project.objects.order_by("id"):
        live = set(Key.objects.filter(project=project, retired_at__isnull=True).values_list("kind", flat=True))
        if not live.issuperset(str(kind) for kind in kinds):
            lacking.append(project)
    return lacking


def _ensure(wrapping: WrappingKey, holder: str, kind: str, project: Project | None, make: Callable[[], Pair]) -> None:
    of = project.id if project else None
    if has_key(kind, of):
        return
    public, private = make()
    wrapped = wrapping.wrap(name_of(kind, of), private)
    try:
        with transaction.atomic():
            # PostgreSQL and SQLite count nulls as different: of the root there could be two without this look.
            if project is None and has_key(kind, None):
                return
            Key.objects.create(project=project, kind=kind, holder=holder, public=public, wrapped=wrapped)
            ring("signer", "worker", "web")
    except IntegrityError:
        return  # another process was quicker; its key counts


def _root() -> Pair:
    made = new_root("doorward root", _now())
    return made.chain_pem, made.private_der


def _device_ca(project: Project, wrapping: WrappingKey) -> Pair:
    made = SignerKeys(wrapping).root_ca().intermediate(f"doorward devices of {project.id}", _now())
    return made.chain_pem, made.private_der


def _control(project: Project) -> Pair:
    made = new_self_signed_client(f"doorward control of {project.id}", _now())
    return made.chain_pem, made.private_der


def _signing_pair() -> Pair:
    key = SigningKey.generate()
    return key.public, key.raw()


def _ssh_pair() -> Pair:
    authority = SshAuthority.generate()
    return authority.public_line, authority.seed


def _now() -> datetime:
    return timezone.now()
