"""Secret files: written with their mode from the first byte on, read only when nobody else could read them."""

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from doorward_console.keys.wrapping import KEY_BYTES, WrappingKey

SECRET_MODE: Final = 0o400
_FOREIGN: Final = stat.S_IRWXG | stat.S_IRWXO


class BadKeyFile(Exception):
    """A key's file is not there, not ours alone, or not a key; the operator mends it. Exit code 78."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(f"{path}: {fault}. Make it with doorward-console init, or mend its owner and mode (0400).")
        self.path = path
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a new file becomes; None leaves user or group as they are."""

    user: int | None = None
    group: int | None = None


def wrapping_key_from_file(path: Path) -> WrappingKey:
    """Read a wrapping key; raises BadKeyFile, also when others could read the file."""
    return WrappingKey(secret_from_file(path))


def secret_from_file(path: Path) -> bytes:
    """Read 32 secret bytes; raises BadKeyFile, also when others could read the file."""
    try:
        with path.open("rb") as source:
            mode = os.fstat(source.fileno()).st_mode
            raw = source.read(KEY_BYTES + 1)
    except OSError as error:
        raise BadKeyFile(path, f"cannot be read ({error.strerror})") from error
    if mode & _FOREIGN:
        raise BadKeyFile(path, f"others can read it (mode {stat.S_IMODE(mode):04o})")
    if len(raw) != KEY_BYTES:
        raise BadKeyFile(path, f"does not hold {KEY_BYTES} bytes")
    return raw


def write_new(path: Path, content: bytes, mode: int, owner: Owner | None = None) -> None:
    """Write a file whole under another name and move it into place; its mode is set at creation.

    Raises:
        FileExistsError: it is there already; nothing is overwritten.
    """
    if path.exists():
        raise FileExistsError(path)
    owner = owner or Owner()
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fchown(
                out.fileno(), -1 if owner.user is None else owner.user, -1 if owner.group is None else owner.group
            )
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        os.link(draft, path)  # unlike a rename, never replaces what somebody made meanwhile
    finally:
        draft.unlink()


def write_new_wrapping_key(path: Path, owner: Owner | None = None) -> None:
    """Make a wrapping key that its owner alone can read; raises FileExistsError."""
    write_new(path, os.urandom(KEY_BYTES), SECRET_MODE, owner)
