"""The signer process: hears the doorbell, looks into the database, decides and signs; talks to nobody else.

It opens no socket but its database's and its doorbell. Whatever fails with one row is logged and does not stop the next.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError, close_old_connections
from django.utils import timezone

from doorward_console.edges.doorbell import Bell
from doorward_console.edges.key_files import wrapping_key_from_file
from doorward_console.edges.supervisor import Supervisor
from doorward_console.fleet.enrolling import certify, waiting_enrolments
from doorward_console.keys.ceilings import ceilings_from_file
from doorward_console.keys.making import SIGNER_KINDS, ensure_root, ensure_signer_keys, projects_without
from doorward_console.keys.opening import SignerKeys
from doorward_console.maintenance import closing, trials
from doorward_console.maintenance.commands.promoting import (
    decide_commands,
    free_devices,
    tell_next,
    undecided_commands,
)
from doorward_console.maintenance.models import Intent
from doorward_console.maintenance.signing import (
    Signer,
    asked_orders,
    decide,
    ended_but_wanted,
    shut_what_has_ended,
    sign_again,
    undecided,
)

POLL_S: Final = 2.0
"""The fallback when no bell rings; a person who asked waits no longer than this."""

log = logging.getLogger("doorward.signer")


def run() -> None:
    """Sign until asked to stop (SIGTERM, SIGINT).

    Raises:
        ConfigError: the ceilings file has faults.
        BadKeyFile: the signer's wrapping key cannot be used.
    """
    signer = signer_from_settings()
    stop = threading.Event()
    bell, supervisor = Bell("signer"), Supervisor(os.environ)

    def end(*_: object) -> None:
        if not stop.is_set():
            stop.set()
            bell.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    log.info("signing; ceilings %s", signer.ceilings)
    try:
        while not stop.is_set():
            look(signer, supervisor.turn)
            bell.wait(min(POLL_S, supervisor.turn()))
    finally:
        stop.set()  # a signal from here on finds nobody to wake
        supervisor.stopping()
        bell.close()


def signer_from_settings() -> Signer:
    """Read key, ceilings and issuers as configured."""
    config = settings.CONFIG
    return Signer(
        SignerKeys(wrapping_key_from_file(config.signer_key)),
        ceilings_from_file(config.ceilings),
        config.licence_issuers,
    )


def look(signer: Signer, turn: Callable[[], object] = lambda: None) -> None:
    """Do everything that waits, shutting before all else, with a ``turn`` before each row: thousands may wait."""
    close_old_connections()
    turn()
    try:
        for act, rows in _work():
            for row in rows():
                turn()
                _one(act, signer, row)
        _make_keys(signer)  # last: a new project's first door can wait, others' need not
    except DatabaseError:
        log.exception("the database does not answer")
        closing.make_room(timezone.now())  # and the next look has it


def _work() -> tuple[tuple[Callable[[Signer, Any], None], Callable[[], list[Any]]], ...]:
    """List what may wait, in the order in which it is done; each is looked up when its turn comes."""
    return (
        (decide, lambda: undecided(Intent.Kind.OFF)),
        (shut_what_has_ended, ended_but_wanted),
        (decide, lambda: undecided(Intent.Kind.ON, Intent.Kind.EXTEND, Intent.Kind.SETTINGS)),
        (_decide, undecided_commands),
        (_tell, free_devices),
        (_confirm, trials.on_trial),
        (sign_again, asked_orders),
        (certify, waiting_enrolments),
    )


def _decide(signer: Signer, commands: tuple[str, ...]) -> None:
    decide_commands(signer.ceilings, commands)


def _confirm(signer: Signer, device: str) -> None:
    trials.confirm(signer.keys, device)


def _tell(signer: Signer, devices: tuple[str, ...]) -> None:
    tell_next(signer.keys, signer.ceilings, devices)


def _one(act: Callable[[Signer, Any], None], signer: Signer, row: object) -> None:
    try:
        act(signer, row)
    except DatabaseError:
        raise
    except Exception:  # one row's fault must not stop the others; it stays as it is and is tried again
        if isinstance(row, tuple) and len(row) > 1:  # rows that are done together are done alone now
            for alone in row:
                _one(act, signer, (alone,))
            return
        log.exception("%s of %s failed", act.__name__, row)


def _make_keys(signer: Signer) -> None:
    wrapping = signer.keys.wrapping
    lacking = projects_without(SIGNER_KINDS)
    if lacking:
        ensure_root(wrapping)
    for project in lacking:
        ensure_signer_keys(project, wrapping)
