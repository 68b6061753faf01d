"""Relays as the worker meets them: where they are, how they are doing. Called by the worker."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from doorward_console.edges.doorbell import ring
from doorward_console.edges.relay_client import RelayPlace
from doorward_console.fleet.models import Relay
from doorward_console.times import ms_from_time

SEEN_EVERY: Final = timedelta(seconds=10)
"""How exact "last seen" is; every long poll would otherwise write a row."""
SKEW_NEWS_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class PairedRelay:
    """A relay that the worker has to talk to."""

    relay: str
    project: str
    place: RelayPlace


def paired_now() -> list[PairedRelay]:
    """List relays that are paired and not removed."""
    rows = Relay.objects.filter(paired_at__isnull=False, removed_at__isnull=True).exclude(tls_certificate="")
    return [
        PairedRelay(one.pk, one.project_id, RelayPlace(one.host, one.control_port, one.tls_certificate)) for one in rows
    ]


def was_seen(relay: str, clock_at: int | None, now: datetime) -> None:
    """Note that a relay has answered, and by how much its clock differs."""
    row = Relay.objects.get(pk=relay)
    skew = row.clock_skew_ms if clock_at is None else clock_at - ms_from_time(now)
    is_news = bool(row.code) or row.seen_at is None or now - row.seen_at >= SEEN_EVERY
    is_news = is_news or abs((skew or 0) - (row.clock_skew_ms or 0)) >= SKEW_NEWS_MS
    if is_news:
        with transaction.atomic():
            Relay.objects.filter(pk=relay).update(seen_at=now, code="", clock_skew_ms=skew)
            ring("web")


def was_away(relay: str, code: str) -> bool:
    """Note why a relay cannot be talked to; tells whether it is news."""
    with transaction.atomic():
        is_news = bool(Relay.objects.filter(pk=relay).exclude(code=code).update(code=code))
        if is_news:
            ring("web")
    return is_news


def has_version(relay: str, version: str) -> None:
    """Note which version a relay runs."""
    with transaction.atomic():
        if Relay.objects.filter(pk=relay).exclude(version=version).update(version=version):
            ring("web")
