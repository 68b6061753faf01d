"""Files and folders of tests, readable by the system users that need them and removed afterwards."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a fresh folder of mode 0711 whose parents every user may pass, and remove it afterwards.

    As root it stands under /var/lib: sshd refuses authorized keys below a folder that others may write to, which /tmp is.
    """
    where = "/var/lib" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="doorward-test-", dir=where))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_whole(path: Path, content: bytes | str, mode: int = 0o644) -> Path:
    """Write a file with its mode set at creation; replaces what was there."""
    path.unlink(missing_ok=True)
    raw = content.encode() if isinstance(content, str) else content
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
        os.fchmod(out.fileno(), mode)
        out.write(raw)
    return path
