"""The runner's settings: tried, and put back by the device itself unless the console confirms them in time (B7).

Written down before anything is done: what is tried, until when, and what was good before. A timer of its own is armed before
the hook runs, so that neither the agent's death nor ours keeps it from coming; a reboot in the middle puts back at once. A
revision that was put back is never tried again. Called by ``runtime``, which has judged the order; hooks run under a lock
of their own.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from doorward_protocol.digests import Digest
from doorward_protocol.orders import ConfirmSettings, Order
from doorward_protocol.revisions import NEVER, Revision

from doorward_runner.edges import log
from doorward_runner.edges.memory import Memory
from doorward_runner.errors import Refused
from doorward_runner.promise import Moment

AGAIN_S: Final = 60.0
"""A device that could not put its settings back tries again this often, and at each boot."""
GOING: Final = ("applying", "trying", "reverting")
UNSETTLED: Final = (*GOING, "failed")


class Settings(NamedTuple):
    """The last settings that were taken, as they are written down.

    Attributes:
        state: ``none``; ``applying`` and ``trying`` until they are confirmed; ``confirmed``; ``reverting``, ``reverted``;
            ``failed`` where even what was good could not be put back.
        boot: the one in which the trial began.
        ends_s: boot-time clock at which it ends unconfirmed, or at which what failed is tried again.
        values: what was asked for.
        good: what was confirmed last; None where nothing was yet.
        confirmed: the last revision that was.
        overtakes: others were on trial when these came; those are put back first.
        code: why they were put back, or could not be.
        said: what the hook said to people.
    """

    revision: Revision = NEVER
    digest: Digest | None = None
    state: str = "none"
    boot: str = ""
    ends_s: float = 0.0
    values: Mapping[str, Any] = {}
    good: Mapping[str, Any] | None = None
    confirmed: Revision = NEVER
    overtakes: bool = False
    code: str | None = None
    said: str = ""


def last_settings(memory: Memory) -> Settings:
    """Give what was taken last; nothing before the first."""
    source = memory.document("settings.json")
    if source is None:
        return Settings()
    found = Settings(**source)
    return found._replace(revision=Revision(*found.revision), confirmed=Revision(*found.confirmed))


def keep(memory: Memory, settings: Settings) -> Settings:
    """Write down where the settings stand, durably."""
    memory.keep("settings.json", settings._asdict())
    log.event("settings", state=settings.state, revision=settings.revision.number, code=settings.code)
    return settings


def begun(memory: Memory, order: Order, values: Mapping[str, Any], now: Moment, trial_s: float) -> Settings:
    """Write down that a trial begins, and until when it lasts; what was good before it stays what is put back."""
    last = last_settings(memory)
    trial = Settings(order.revision, order.digest, "applying", now.boot, now.uptime_s + trial_s, values)
    overtakes = last.state in UNSETTLED
    return keep(memory, trial._replace(good=last.good, confirmed=last.confirmed, overtakes=overtakes))


def base(memory: Memory, last: Settings) -> str:
    """Name what was confirmed last, for hooks: what they keep under it is what they go back to, and nothing older."""
    pins = memory.pins()
    return f"{pins.device if pins else ''}.{last.confirmed.epoch}-{last.confirmed.number}"


def confirmed(memory: Memory, body: ConfirmSettings, now: Moment) -> Settings:
    """Take the console's word that it has heard from the device as it is now; raises Refused where nothing waits for it.

    A trial that is over is not confirmed any more, also where nobody has put it back yet.
    """
    last = last_settings(memory)
    is_of_it = (last.revision, last.digest) == (body.revision, body.digest) and last.state in {"trying", "confirmed"}
    if not is_of_it or why_over(last, now) is not None:
        raise Refused("settings.not-trying", last.state)
    return keep(memory, last._replace(state="confirmed", good=last.values, confirmed=last.revision, code=None, said=""))


def reverting(memory: Memory, last: Settings, code: str) -> Settings:
    """Write down that the settings are being put back: from here on nothing can confirm them."""
    return keep(memory, last._replace(state="reverting", code=code))


def why_over(last: Settings, now: Moment) -> str | None:
    """Say why the settings have to be put back now; None where they do not."""
    if last.state not in UNSETTLED:
        return None
    if last.boot != now.boot:
        return last.code or "settings.rebooted"
    if last.state == "reverting":
        return last.code  # whoever did it was ended: its lock is free
    return (last.code or "settings.unconfirmed") if last.ends_s <= now.uptime_s else None


def answer(last: Settings) -> Mapping[str, Any]:
    """Write what the agent is told: nothing of the values."""
    about = {"epoch": last.revision.epoch, "revision": last.revision.number, "digest": last.digest}
    return {"ok": True, "state": last.state, **about, "code": last.code, "said": last.said}
