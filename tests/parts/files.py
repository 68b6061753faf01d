"""Files and folders of tests, readable by the system users that need them and removed afterwards."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IN_MEMORY = [False]
"""Whether scratch folders are in memory where root may mount: the suite's are, for syncs of four processes to one disk wait for each other."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a fresh folder of mode 0711 whose parents every user may pass, and remove it afterwards.

    As root it stands under /var/lib: sshd refuses authorized keys below a folder that others may write to, which /tmp is.
    """
    is_root = os.geteuid() == 0
    folder = Path(tempfile.mkdtemp(prefix="doorward-test-", dir="/var/lib" if is_root else None))
    folder.chmod(0o711)
    is_mounted = is_root and IN_MEMORY[0] and _did("mount", "-t", "tmpfs", "-o", "mode=711", "doorward-test", folder)
    try:
        yield folder
    finally:
        shutil.rmtree(
            folder, ignore_errors=True
        )  # also of what is mounted: machines that run now see it until they end
        if is_mounted:
            _did("umount", "--lazy", folder)
            folder.rmdir()


def _did(*argv: str | Path) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def write_whole(path: Path, content: bytes | str, mode: int = 0o644) -> Path:
    """Write a file with its mode set at creation; replaces what was there."""
    path.unlink(missing_ok=True)
    raw = content.encode() if isinstance(content, str) else content
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
        os.fchmod(out.fileno(), mode)
        out.write(raw)
    return path
