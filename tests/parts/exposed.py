"""Where other processes' users could read a text: in the process list, and in what processes hold open in memory."""

import base64
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SHAPES: Final = ("cmdline", "environ")
"""Arguments everyone may read, the environment root and the process's own user (proc(5))."""


def in_process_list(text: str) -> set[str]:
    """Name each process whose arguments or environment have ``text``, in plain words, in base64 or in hexadecimal digits."""
    forms = [form.encode() for form in (text, base64.b64encode(text.encode()).decode(), text.encode().hex())]
    found = set()
    for pid in _pids():
        for shape in SHAPES:
            raw = _read(Path(f"/proc/{pid}/{shape}")).replace(b"\0", b" ")
            if any(form in raw for form in forms):
                found.add(f"{shape} of {pid}: {raw.decode(errors='replace')}")
    return found


@contextmanager
def watched(text: str) -> Iterator[set[str]]:
    """Look at the process list again and again meanwhile; what is found grows in the set that is given."""
    found: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            found.update(in_process_list(text))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield found
    finally:
        over.set()
        looking.join()


def held_in_memory(text: str) -> dict[int, str]:
    """Give the processes that hold a file without a name open (memfd_create(2)) in which ``text`` stands, and their environment."""
    found = {}
    for pid in _pids():
        environment = _read(Path(f"/proc/{pid}/environ")).decode(errors="replace")
        for entry in _entries(Path(f"/proc/{pid}/fd")):
            if _target(entry).startswith("/memfd:") and text.encode() in _read(entry):
                found[pid] = environment
    return found


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # it has ended
        return []


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _read(path: Path) -> bytes:
    """Read a file of /proc from its beginning; nothing where its process has ended or is another user's."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return b"".join(iter(lambda: os.read(descriptor, 65_536), b""))
    except OSError:
        return b""
    finally:
        os.close(descriptor)
