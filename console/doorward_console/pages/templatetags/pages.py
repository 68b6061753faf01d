"""How times and spans are written in templates, and what each page of a project asks for by itself.

Times are written in the viewer's zone where the browser has named it (cookie ``zone``), with UTC on hover; the script does
the same for a first visit.
"""

import secrets
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from django import template
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from doorward_protocol.sealed import NOT_SET, is_masked, is_sealed

from doorward_console.maintenance.documents import forms
from doorward_console.pages import first_door as first
from doorward_console.pages.access import Place

register = template.Library()

_THEMES = {"light", "dark"}


def zone_of(request: HttpRequest | None) -> ZoneInfo:
    """Give the zone that the viewer's browser named, or UTC."""
    name = request.COOKIES.get("zone", "UTC") if request is not None else "UTC"
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return ZoneInfo("UTC")


@register.simple_tag
def new_mark() -> str:
    """Give a name for one wish that is about to be asked: a form that is sent twice is the same wish."""
    return secrets.token_urlsafe(16)


@register.filter
def is_a_secret(value: Any) -> bool:
    """Tell whether a setting is a sealed one."""
    return is_sealed(value)


@register.filter
def in_words(value: Any) -> str:
    """Write a setting for people: text as it is, a list of texts with commas, of a secret only that it is one, all else as JSON."""
    if is_sealed(value):
        return "a secret"
    if is_masked(value):
        return "no secret" if value == NOT_SET else "a secret"
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return forms.in_words(value)


@register.simple_tag(takes_context=True)
def moment(context: dict[str, Any], at: datetime | None, form: str = "full") -> SafeString | str:
    """Write a time; ``form`` is ``full`` (date and time), ``time`` (time alone today) or ``seconds``."""
    if at is None:
        return "never"
    zone = zone_of(context.get("request"))
    local = at.astimezone(zone)
    utc = at.astimezone(timezone.utc)
    return format_html(
        '<time datetime="{}" data-form="{}" title="{}">{}</time>',
        utc.isoformat(timespec="milliseconds"),
        form,
        utc.strftime("%Y-%m-%d %H:%M:%S UTC"),
        _text(local, form),
    )


def _text(local: datetime, form: str) -> str:
    if form == "seconds":
        return local.strftime("%H:%M:%S")
    if form == "time" and local.date() == datetime.now(local.tzinfo).date():
        return local.strftime("%H:%M")
    return local.strftime("%Y-%m-%d %H:%M")


@register.simple_tag
def left(until: datetime) -> SafeString:
    """Write how long it is until a time; the script keeps it true."""
    seconds = (until - datetime.now(timezone.utc)).total_seconds()
    return format_html('<span data-until="{}">{}</span>', until.isoformat(timespec="milliseconds"), span(seconds))


@register.filter
def span(seconds: float | None) -> str:
    """Write a length of time: ``1 h 12 min``, ``45 min``, ``30 s``."""
    whole = max(int(seconds or 0), 0)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


@register.filter
def days(seconds: int) -> str:
    """Write a span in whole days where it is some: ``3 days``, ``8 h``."""
    if seconds < 86_400:
        return span(seconds)
    count = seconds // 86_400
    return f"{count} day{'' if count == 1 else 's'}"


@register.filter
def took(ms: int) -> str:
    """Write how long something took: ``0.4 s``, ``2 min``."""
    return f"{ms / 1000:.1f} s" if ms < 60_000 else span(ms / 1000)


@register.filter
def skew(ms: int) -> str:
    """Write a clock's error: ``3 s ahead``, ``10 d 2 h behind``, ``none``."""
    if abs(ms) < 1000:
        return "none (under a second)"
    length = timedelta(milliseconds=abs(ms))
    text = f"{length.days:,} d {length.seconds // 3600} h" if length.days else span(length.total_seconds())
    return f"{text} {'ahead' if ms > 0 else 'behind'}"


@register.simple_tag
def first_door(place: Place) -> first.FirstDoor | None:
    """Give the steps to the project's first open door, or None once there was one."""
    return first.first_door(place)


@register.simple_tag(takes_context=True)
def theme(context: dict[str, Any]) -> str:
    """Give the theme that the viewer chose with the switch, or nothing for the system's."""
    request = context.get("request")
    chosen = request.COOKIES.get("theme", "") if request is not None else ""
    return chosen if chosen in _THEMES else "auto"
