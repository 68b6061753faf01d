"""The history as a download, with a real web process: it is sent while it is read, whatever its length."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from doorward_console.history.models import Chain, Record
from doorward_console.people.models import Project

from tests.console.conftest import House, make_house, on_disk
from tests.console.histories import Author
from tests.console.web_process import Web, browser_of, start_web
from tests.parts.processes import Programs

pytestmark = pytest.mark.feature("E6")
RECORDS: Final = 6_000
"""As envelopes 24 MiB: what is kept of them cannot be missed."""
AT_MOST_KIB: Final = 6 * 1024


@pytest.fixture
def web(programs: Programs, scratch: Path, transactional_db: None) -> Iterator[Web]:
    """A web process on a SQLite file of its own, which goes on being as large as it once was."""
    place = scratch / "console.sqlite3"
    with on_disk(place):
        yield start_web(programs, scratch, f"sqlite:{place}")


def long_history(project: Project) -> list[str]:
    """Give a project a device's records, as long as a note makes them; returns their envelopes."""
    author = Author("device:d-aaaaaaaaaaaaaaaa")
    for _ in range(RECORDS):
        author.write("door.opened", note="x" * 2_000)
    Record.objects.bulk_create(
        [
            Record(
                project=project, author=author.name, n=place.n, digest=str(place.digest), verb="door.opened",
                envelope=line.encode(),
            )
            for line, place in zip(author.lines, author.places, strict=True)
        ]
    )  # fmt: skip
    Chain.objects.create(
        project=project, author=author.name, public_key=author.key.public, n=author.head.n, digest=author.head.digest
    )
    return author.lines


def most_kib(pid: int) -> int:
    """The most memory that a process ever had, in KiB."""
    return next(
        int(line.split()[1])
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )


def download(client: httpx.Client, house: House) -> list[str]:
    answer = client.get(f"/projects/{house.project.id}/history/export/")
    assert answer.status_code == 200, answer.text
    return answer.text.splitlines()


def test_export_when_the_history_is_long_then_it_is_whole_and_the_web_process_never_holds_it(web: Web) -> None:
    """A fleet's history has a hundred times more records than this one, and the console as little memory."""
    house = make_house()
    assert web.program is not None
    with browser_of(web, house.owner) as client:
        assert len(download(client, house)) >= 1
        lines = long_history(house.project)
        before = most_kib(web.program.pid)
        exported = download(client, house)
    assert exported[-len(lines) :] == lines
    assert most_kib(web.program.pid) - before <= AT_MOST_KIB
