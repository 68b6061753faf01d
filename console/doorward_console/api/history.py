"""The Action History over the API."""

from typing import Any

from django.http import HttpRequest
from ninja import Query, Router

from doorward_console.api.caller import project_place
from doorward_console.api.shapes.history import HistoryOut, HistoryWanted
from doorward_console.history.queries import Filter, lines
from doorward_console.history.sentences import Entry, entry_of

router = Router(tags=["history"])


@router.get("/projects/{project_id}/history", response=HistoryOut)
def see_history(
    request: HttpRequest,
    project_id: str,
    wanted: Query[HistoryWanted],
) -> dict[str, Any]:
    """Give one page of the history, newest first."""
    place = project_place(request, project_id)
    found, has_older = lines(
        place.project, Filter(wanted.person, wanted.device, wanted.action, wanted.since, wanted.until), wanted.page
    )
    return {"lines": [_document(entry_of(line)) for line in found], "page": wanted.page, "has_older": has_older}


def _document(entry: Entry) -> dict[str, Any]:
    line = entry.line
    return {
        "verb": line.verb,
        "sentence": entry.title,
        "at": line.at,
        "author": line.author,
        "by": entry.who or None,
        "device": line.device_id,
        "device_name": line.device_name,
        "session": line.session_id,
        "ending": entry.ending.word.lower() if entry.ending else None,
        "data": line.data,
        "record": f"{line.author} {line.record.epoch}/{line.record.n}" if line.record else None,
    }
