"""Files and folders of tests, readable by the system users that need them and removed afterwards."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

IN_MEMORY = [False]
"""Whether scratch folders are in memory where root may mount: the suite's are, for syncs of four processes to one disk wait for each other."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a fresh folder of mode 0711 whose parents every user may pass, and remove it afterwards.

    As root it stands under /var/lib: sshd refuses authorized keys below a folder that others may write to, which /tmp is.
    """
    folder = Path(tempfile.mkdtemp(prefix="doorward-test-", dir="/var/lib" if os.geteuid() == 0 else None))
    if IN_MEMORY[0]:
        keep_in_memory(folder)
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        remove(folder)


def keep_in_memory(folder: Path) -> None:
    """Let a folder's content be in memory and not on a disk, where we may mount."""
    if os.geteuid() == 0:
        _run("mount", "-t", "tmpfs", "doorward-test", folder)


def remove(folder: Path) -> None:
    """Remove a folder and what is in it; of one in memory first the content, for machines that run now see it until they end."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.is_mount():
        _run("umount", "--lazy", folder)
    with suppress(OSError):
        folder.rmdir()


def _run(*argv: str | Path) -> None:
    subprocess.run(argv, capture_output=True, check=False)


def write_whole(path: Path, content: bytes | str, mode: int = 0o644) -> Path:
    """Write a file with its mode set at creation; replaces what was there."""
    path.unlink(missing_ok=True)
    raw = content.encode() if isinstance(content, str) else content
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
        os.fchmod(out.fileno(), mode)
        out.write(raw)
    return path
