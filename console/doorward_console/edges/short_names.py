"""Names of unix sockets: 107 bytes (unix(7)), where the folder of a trial, below somebody's TMPDIR, may need more."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def short_name(path: Path) -> Iterator[str]:
    """Name a socket by its folder's descriptor, while it is bound or spoken to; raises OSError where there is no folder."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
