"""The Action History (E6): filters in the address bar, pages, export, and since when the chain has been verified."""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from itertools import islice

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe
from doorward_protocol.audit import VERBS

from doorward_console.history.export import PAGE, lines_of
from doorward_console.history.queries import DEEDS, Filter, devices_named, lines, seal_of
from doorward_console.history.sentences import entry_of
from doorward_console.pages.access import place_of
from doorward_console.pages.news import project_look
from doorward_console.pages.templatetags.pages import zone_of
from doorward_console.people.queries import members_of


@login_required
@require_safe
def history(request: HttpRequest, project_id: str) -> HttpResponse:
    """Show one page of the history."""
    place = place_of(request, project_id)
    known = project_look(place.project.id)
    wanted = _filter(request)
    page = _page_number(request)
    found, has_older = lines(place.project, wanted, page)
    context = {
        "place": place,
        "section": "history",
        "entries": [entry_of(line) for line in found],
        "wanted": wanted,
        "since": request.GET.get("since", ""),
        "until": request.GET.get("until", ""),
        "seal": seal_of(place.project),
        "devices": devices_named(place.project),
        "members": members_of(place.project),
        "verbs": VERBS.values(),
        "deeds": DEEDS,
        "page": page,
        "newer": _with_page(request.GET, page - 1) if page > 1 else "",
        "older": _with_page(request.GET, page + 1) if has_older else "",
        "known": known,
        "here": request.get_full_path(),
    }
    return render(request, "pages/history.html", context)


@login_required
@require_safe
def export(request: HttpRequest, project_id: str) -> HttpResponseBase:
    """Give the whole history as signed records, for ``doorward-console verify-history``."""
    place = place_of(request, project_id)
    name = f"history-{place.project.id}-{timezone.now():%Y%m%dT%H%M%SZ}.jsonl"
    lines_left = lines_of(place.project.id)
    first = _some(lines_left)  # before the answer has begun: a database that is away is said in the usual way
    answer = StreamingHttpResponse(_export(first, lines_left), content_type="application/x-ndjson")
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["Cache-Control"] = "no-store"
    return answer


async def _export(some: str, lines_left: Iterator[str]) -> AsyncIterator[str]:
    """Read on as it is sent: a plain iterator Django reads to its end, into memory, before it sends the first line."""
    while some:
        yield some
        some = await sync_to_async(_some)(lines_left)


def _some(lines_left: Iterator[str]) -> str:
    return "".join(f"{line}\n" for line in islice(lines_left, PAGE))


def _filter(request: HttpRequest) -> Filter:
    until = _day(request, "until")
    return Filter(
        person=request.GET.get("person", "").strip(),
        device=request.GET.get("device", "").strip(),
        action=request.GET.get("action", "").strip(),
        since=_day(request, "since"),
        until=until + timedelta(days=1) if until else None,
    )


def _day(request: HttpRequest, name: str) -> datetime | None:
    """Read a day of the viewer's zone; a day that is none is no filter."""
    try:
        day = datetime.strptime(request.GET.get(name, ""), "%Y-%m-%d")  # noqa: DTZ007  # the zone comes next
    except ValueError:
        return None
    return day.replace(tzinfo=zone_of(request))


def _page_number(request: HttpRequest) -> int:
    text = request.GET.get("page", "1")
    return max(int(text), 1) if text.isascii() and text.isdigit() and len(text) < 7 else 1


def _with_page(query: QueryDict, page: int) -> str:
    changed = query.copy()
    changed["page"] = str(page)
    return "?" + changed.urlencode()
