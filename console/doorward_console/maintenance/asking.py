"""What people ask for: turning on and off, and extending. Called by pages and API.

Each call checks the right, writes down who asked, from where, when and why, and leaves the deciding to the signer; only
shutting does not wait for it. All of it happens in one transaction that holds the device's row, so two people who ask at
once are heard one after the other.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from django.db import OperationalError

from doorward_console.edges import reserve
from doorward_console.edges.doorbell import ring
from doorward_console.fleet.licensing import what_is_missing
from doorward_console.fleet.models import Device
from doorward_console.history.writing import note
from doorward_console.identifiers import new_session_id
from doorward_console.maintenance.asker import Asker, NotAsked, entitled, intent_of
from doorward_console.maintenance.closing import (
    held,
    live_session,
    refuse,
    session_named,
    start_closing,
    undecided,
    void,
)
from doorward_console.maintenance.forwards import chosen
from doorward_console.maintenance.models import Desired, Intent, Session
from doorward_console.people.models import User
from doorward_console.people.rights import Right

SHUT_WINS_S: Final = 1.0
"""Two people who ask for opposite things within this time asked at once, as far as either could see."""

LONGEST_ASKED_S: Final = 31 * 86_400
"""Above any ceiling that makes sense; the signer's own file sets the real one."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What is asked for.

    Attributes:
        duration_s: the project's own default when None.
        forwards: the named forwards that go with it; the device's usual ones when None.
    """

    duration_s: int | None = None
    reason: str = ""
    forwards: tuple[str, ...] | None = None


def turn_on(
    device: Device, user: User, from_address: str, duration_s: int | None = None, reason: str = ""
) -> Intent | Session:
    """Ask for the device's door to be opened with its usual forwards (see ``ask_on``)."""
    return ask_on(device, user, from_address, Opening(duration_s, reason))


def ask_on(device: Device, user: User, from_address: str, wanted: Opening) -> Intent | Session:
    """Ask for the device's door to be opened.

    A device whose session is live is left as it is and that session is given; so is an intent that nobody has decided
    about yet. **Shut wins**: an ON that comes within ``SHUT_WINS_S`` after somebody else's OFF is refused here with
    ``session.turned-off``, and an ON that came before it is voided by that OFF. An ON while the last session is still
    closing waits for its end.

    Raises:
        NotEntitled: ``signer.not-entitled``.
        NotAsked: ``ask.no-reason``, ``ask.bad-duration``, ``forward.unknown`` or ``forward.agent-too-old``, or what the project's
            licence policy misses, ``licence.…``.
    """
    asker = entitled(device, user, from_address, Right.TOGGLE)
    duration_s = device.project.default_duration_s if wanted.duration_s is None else wanted.duration_s
    _check_duration(duration_s)
    if device.project.needs_reason and not wanted.reason.strip():
        raise NotAsked("ask.no-reason")
    if live_session(device) is None and (missing := what_is_missing(device, device.project)):
        raise NotAsked(missing)
    if (fault := chosen(device, wanted.forwards).code) is not None:
        raise NotAsked(fault)
    with held(device):
        return _on(device, asker, replace(wanted, duration_s=duration_s, reason=wanted.reason.strip()[:1000]))


def _on(device: Device, asker: Asker, wanted: Opening) -> Intent | Session:
    named = {} if wanted.forwards is None else {"forwards": list(wanted.forwards)}
    facts = asker.facts(duration_s=wanted.duration_s, reason=wanted.reason, **named)
    live = live_session(device)
    if live is not None and live.state != Session.State.CLOSING:
        note(device.project, "session.on", session=live.id, device=device.id, data=facts | {"already": live.state})
        return live
    waiting: Intent | None = undecided(device, Intent.Kind.ON).first()
    if waiting is not None:
        session = session_named(waiting)
        note(device.project, "session.on", session=session, device=device.id, data=facts | {"already": "requested"})
        return waiting
    session = new_session_id()
    note(device.project, "session.on", session=session, device=device.id, data=facts, wakes=False)  # the signer will
    values = {"session": session, **named}
    intent = intent_of(device, asker, Intent.Kind.ON, duration_s=wanted.duration_s, reason=wanted.reason, values=values)
    if _is_just_shut_by_another(device, asker):
        refuse(intent, "session.turned-off")
    else:
        ring("signer", "web")
    return intent


def _is_just_shut_by_another(device: Device, asker: Asker) -> bool:
    since = asker.at - timedelta(seconds=SHUT_WINS_S)
    off = Intent.objects.filter(device=device, kind=Intent.Kind.OFF, at__gte=since)
    return bool(off.exclude(by=asker.user).exists())


def turn_off(device: Device, user: User, from_address: str, reason: str = "") -> Intent | Session:
    """Shut the device's door, without waiting for the signer.

    In one transaction the live session becomes ``closing`` (so the worker ends its grant on the relay), undecided ONs
    and extensions are voided, and orders that are not on their way yet are dropped. The signer then signs the device's
    order to shut. OFF where nothing is open is written down and does no harm. Whatever came before or comes within
    ``SHUT_WINS_S`` after it from somebody else loses: shut wins. A full disk is no reason to refuse it: room is kept back for this.

    Raises:
        NotEntitled: ``signer.not-entitled``.
    """
    asker = entitled(device, user, from_address, Right.TOGGLE)
    try:
        return _off(device, asker, reason)
    except OperationalError:
        if not reserve.give_back():
            raise
        return _off(device, asker, reason)


def _off(device: Device, asker: Asker, reason: str) -> Intent | Session:
    with held(device):
        session = live_session(device)
        already = session is None or session.state == Session.State.CLOSING
        voided = void(device, "session.turned-off")
        named = session.id if session else next(iter(voided), None)
        facts = asker.facts(reason=reason.strip()[:1000]) | ({"already": "shut"} if already and not voided else {})
        note(device.project, "session.off", session=named, device=device.id, data=facts)
        intent = intent_of(device, asker, Intent.Kind.OFF, reason=reason.strip()[:1000], session=session)
        start_closing(device, "session.turned-off", asker.name, asker.at)
        if session is None and not _wants_open(device):
            _done(intent)
        ring("signer", "worker", "web")
        return session or intent


def extend(device: Device, user: User, from_address: str, duration_s: int | None = None, reason: str = "") -> Intent:
    """Ask for the live session to last until ``duration_s`` from now (the project's own default when None).

    Raises:
        NotEntitled: ``signer.not-entitled``.
        NotAsked: ``ask.not-open`` or ``ask.bad-duration``.
    """
    asker = entitled(device, user, from_address, Right.TOGGLE)
    wanted_s = device.project.default_duration_s if duration_s is None else duration_s
    _check_duration(wanted_s)
    with held(device):
        session = live_session(device)
        if session is None or session.state == Session.State.CLOSING:
            raise NotAsked("ask.not-open")
        why = reason.strip()[:1000]
        intent = intent_of(device, asker, Intent.Kind.EXTEND, duration_s=wanted_s, reason=why, session=session)
        facts = asker.facts(duration_s=wanted_s, reason=why)
        note(device.project, "session.extended", session=session.id, device=device.id, data=facts)
        ring("signer", "web")
        return intent


def _check_duration(wanted_s: int) -> None:
    if not 0 < wanted_s <= LONGEST_ASKED_S:
        raise NotAsked("ask.bad-duration")


def _wants_open(device: Device) -> bool:
    """Tell whether the device is still told to be open; ``Desired.session`` is null once it is told to be shut."""
    return bool(Desired.objects.filter(device=device, part="door", session__isnull=False).exists())


def _done(intent: Intent) -> None:
    intent.state = Intent.State.DONE
    intent.save(update_fields=["state"])
