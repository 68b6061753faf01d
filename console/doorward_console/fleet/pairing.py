"""Pairing a relay: its one line, pasted by the owner, becomes a relay that this project may use (protocol.md §7).

Only public parts go over: the control client's certificate, the grant key, the record key, the tunnel CA. The relay's
certificate is compared with the line before anything is sent, and stored: from then on it alone is accepted. Called by the web
process, in the owner's request.
"""

from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from doorward_protocol.joining import NotALine, PairingLine, pairing_from_text
from doorward_protocol.reasons import reason_of
from doorward_protocol.signature import BadKey, KeyRing, PublicKeyText

from doorward_console.declined import Declined
from doorward_console.edges.doorbell import ring
from doorward_console.edges.relay_client import (
    Paired,
    RelayAway,
    RelayClient,
    RelayPlace,
    RelayRefused,
    certificate_at,
)
from doorward_console.fleet.models import Relay
from doorward_console.history.models import Chain
from doorward_console.history.writing import note
from doorward_console.identifiers import new_relay_id
from doorward_console.keys.models import Key
from doorward_console.people.membership import is_entitled
from doorward_console.people.models import Project, User
from doorward_console.people.rights import Right
from doorward_console.times import ms_from_time


@dataclass(frozen=True, slots=True)
class _Found:
    """A relay that answered: what it is called here, where it is, what it says of itself."""

    relay: str
    name: str
    place: RelayPlace
    said: Paired


def pair(project: Project, line_text: str, name: str, user: User, from_address: str) -> Relay:
    """Pair the relay whose ``doorward-relay install`` printed ``line_text``, and give it.

    Raises:
        Declined: the line is none, the name is taken, the person may not, or the relay cannot be reached or says no; ``code``
            is a reason code where there is one.
    """
    if not is_entitled(user, project, Right.MANAGE_RELAYS):
        raise _declined("signer.not-entitled")
    name = " ".join(name.split())
    if not 0 < len(name) <= 100:
        raise Declined("relay.name", "A relay has a name of 1 to 100 characters.", "Enter one.")
    if Relay.objects.filter(project=project, name=name).exists():
        raise _name_taken(name)
    try:
        found = _greet(project, pairing_from_text(line_text), name)
    except NotALine as error:
        raise Declined("relay.not-a-line", str(error), "Paste the line that doorward-relay install printed.") from None
    except (RelayAway, RelayRefused) as error:
        raise _declined(error.code) from error
    return _store(project, found, user, from_address)


def _greet(project: Project, line: PairingLine, name: str) -> _Found:
    """Connect to the relay, compare its certificate, and pair."""
    place = RelayPlace(line.host, line.port, certificate_at(line.host, line.port, line.fingerprint))
    relay = new_relay_id()
    client = RelayClient(place, None)
    try:
        said = client.pair(_document(project, relay, line.token))
    except (RelayAway, RelayRefused) as error:
        raise _already_ours(project, place, error) or error from None
    finally:
        client.close()
    _check(line, said)
    return _Found(relay, name, place, said)


def _already_ours(project: Project, place: RelayPlace, error: RelayAway | RelayRefused) -> Declined | None:
    """Name the relay of this project whose line was pasted a second time; None where that is not what happened."""
    ours = Relay.objects.filter(project=project, tls_certificate=place.certificate, removed_at__isnull=True).first()
    if error.code != "relay.already-paired" or ours is None:
        return None
    sentence = f"This relay is {ours.name}, which is paired with this project already."
    return Declined(error.code, sentence, "There is nothing more to do for it.")


def _document(project: Project, relay: str, token: str) -> dict[str, Any]:
    public = dict(Key.objects.filter(project=project, retired_at__isnull=True).values_list("kind", "public"))
    return {
        "token": token,
        "relay": relay,
        "project": project.pk,
        "epoch": project.epoch,
        "client_certificate": public[Key.Kind.CONTROL],
        "grant_key": public[Key.Kind.GRANT],
        "record_key": public[Key.Kind.RECORD],
        "tunnel_ca": public[Key.Kind.TUNNEL_CA],
    }


def _check(line: PairingLine, said: Paired) -> None:
    """Believe the relay's host keys only if the one on the line, which came another way, is among them."""
    if line.ssh_host_key not in {" ".join(key.split()[:2]) for key in said.ssh_host_keys}:
        raise RelayAway("tunnel.host-key")
    try:
        KeyRing([PublicKeyText(said.record_key)])
    except BadKey as error:
        raise RelayAway("relay.unavailable") from error


def _store(project: Project, found: _Found, user: User, from_address: str) -> Relay:
    now = timezone.now()
    said, place = found.said, found.place
    try:
        with transaction.atomic():
            relay: Relay = Relay.objects.create(
                id=found.relay,
                project=project,
                name=found.name,
                kind=_kind(said.kind),
                host=place.host,
                ssh_port=said.ssh_port,
                tunnel_user=said.tunnel_user,
                ssh_host_keys=list(said.ssh_host_keys),
                control_port=place.port,
                tls_certificate=place.certificate,
                record_key=said.record_key,
                low_port=said.low_port,
                high_port=said.high_port,
                epoch=project.epoch,
                paired_at=now,
                seen_at=now,
                version=said.version,
                clock_skew_ms=said.clock_at - ms_from_time(now),
            )
            Chain.objects.create(project=project, author=f"relay:{relay.pk}", public_key=said.record_key)
            note(project, "relay.paired", data=_facts(relay, user, from_address))
            ring("worker", "web")
    except IntegrityError:
        raise _name_taken(found.name) from None
    return relay


def _kind(said: str) -> str:
    """Read what a relay calls itself: whatever else it may be, one that can be paired is managed."""
    return str(Relay.Kind.EMBEDDED if said == Relay.Kind.EMBEDDED else Relay.Kind.MANAGED)


def _facts(relay: Relay, user: User, from_address: str) -> dict[str, Any]:
    return {
        "by": user.email,
        "from": from_address,
        "relay": relay.pk,
        "name": relay.name,
        "host": relay.host,
        "record_key": relay.record_key,
        "ssh_host_keys": relay.ssh_host_keys,
    }


def _name_taken(name: str) -> Declined:
    return Declined("relay.name-taken", f"Another relay is called {name!r} already.", "Choose another name.")


def _declined(code: str) -> Declined:
    reason = reason_of(code)
    return Declined(code, reason.meaning, reason.next)
