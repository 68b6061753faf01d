"""sftp on the real file system, as the login user: what that user may do, no more and no less.

The process is that user already, so links and ``..`` lead where they would lead in a shell. Relative paths begin in the
home, the working directory. paramiko brings the protocol; what it would read at a client's word (a gigabyte in one answer) is
bounded here.
"""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any, Final, TypeVar

from paramiko import Channel, Message, ServerInterface, SFTPAttributes, SFTPHandle, SFTPServer, SFTPServerInterface
from paramiko.sftp import CMD_INIT, CMD_VERSION, SFTP_FAILURE, SFTP_OK, SFTP_OP_UNSUPPORTED, SFTPError

MOST_READ_BYTES: Final = 262_144
"""In one answer, as OpenSSH; clients ask again for the rest."""
_VERSION: Final = 3
"""Of the protocol (draft-ietf-secsh-filexfer-02), OpenSSH's and everybody's."""
MOST_HANDLES: Final = 64
"""Open files and folders of one client; they are descriptors of the door's."""
MOST_PACKET_BYTES: Final = 262_144
"""As OpenSSH; paramiko would gather 16 MiB, several times over, of a request that nobody makes."""
_NAMES_AT_ONCE: Final = 64

T = TypeVar("T")


def serve_files(channel: Channel, server: ServerInterface) -> bool:
    """Serve sftp on ``channel``, in a thread of its own."""
    serving = FileServer(channel, "sftp", server, Files)
    serving.daemon = True
    serving.start()
    return True


class FileServer(SFTPServer):
    """paramiko's, with OpenSSH's renaming and without the extension that computes digests, which never ends past a file's end."""

    def __init__(self, channel: Channel, name: str, server: ServerInterface, interface: type["Files"]) -> None:
        super().__init__(channel, name, server, interface)
        self.folder_table = _Folders()

    def _read_all(self, n: int) -> bytes:
        if n > MOST_PACKET_BYTES:
            raise SFTPError("a packet larger than any client sends")
        found: bytes = super()._read_all(n)  # type: ignore[misc]
        return found

    def _open_folder(self, request_number: int, path: str) -> None:
        """Answer with a handle that reads as it is asked: paramiko's would hold all names of every folder that is open."""
        self._send_handle_response(request_number, self.server.open_folder(path), folder=True)  # type: ignore[attr-defined]

    def _send_server_version(self) -> int:
        kind, data = self._read_packet()  # type: ignore[attr-defined]
        if kind != CMD_INIT:
            raise SFTPError("not sftp")
        message = Message()
        message.add_int(_VERSION)
        message.add_string("posix-rename@openssh.com")  # the client's mv overwrites as everywhere, if this is said
        message.add_string("1")
        self._send_packet(CMD_VERSION, message)  # type: ignore[attr-defined]
        return int.from_bytes(data[:4], "big")

    def finish_subsystem(self) -> None:
        with suppress(OSError, EOFError):  # the client is gone
            if self.sock is not None:
                self.sock.send_exit_status(0)  # scp asks for it
        super().finish_subsystem()

    def _check_file(self, request_number: int, msg: Any) -> None:
        del msg
        self._send_status(request_number, SFTP_OP_UNSUPPORTED)  # type: ignore[attr-defined]


def _tried(act: Callable[[], T]) -> T | int:
    """Give what ``act`` gives, or the protocol's code for why the kernel refused it."""
    try:
        return act()
    except OSError as error:
        return SFTPServer.convert_errno(error.errno or 0)
    except (ValueError, OverflowError):  # a NUL in a path, a size that no file has
        return SFTP_FAILURE


def _done(act: Callable[[], object]) -> int:
    answer = _tried(act)
    return answer if isinstance(answer, int) and answer != SFTP_OK and not isinstance(answer, bool) else SFTP_OK


class OpenFile(SFTPHandle):
    """One open file, read and written at any offset."""

    def __init__(self, descriptor: int, flags: int, files: "Files") -> None:
        super().__init__(flags)
        self._descriptor = descriptor
        self._files = files
        self._appends = bool(flags & os.O_APPEND)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
            self._files.handles -= 1

    def read(self, offset: int, length: int) -> bytes | int:
        return _tried(lambda: os.pread(self._descriptor, min(length, MOST_READ_BYTES), offset))

    def write(self, offset: int, data: bytes) -> int:  # type: ignore[override]
        return _done(lambda: self._write(offset, data))

    def _write(self, offset: int, data: bytes) -> None:
        left = memoryview(data)
        while left:
            count = os.write(self._descriptor, left) if self._appends else os.pwrite(self._descriptor, left, offset)
            left, offset = left[count:], offset + count

    def stat(self) -> SFTPAttributes | int:
        return _tried(lambda: SFTPAttributes.from_stat(os.fstat(self._descriptor)))

    def chattr(self, attr: SFTPAttributes) -> int:
        return _done(lambda: _change(self._descriptor, attr))


class OpenFolder(SFTPHandle):
    """One folder, listed from where the last answer ended."""

    def __init__(self, path: str, files: "Files") -> None:
        super().__init__()
        self._entries = os.scandir(path or ".")
        self._files = files
        self._is_open = True
        files.handles += 1

    def _get_next_files(self) -> list[SFTPAttributes]:
        return [_entry(entry) for entry in islice(self._entries, _NAMES_AT_ONCE)]

    def close(self) -> None:
        self._entries.close()
        self._files.handles -= self._is_open
        self._is_open = False


class _Folders(dict[bytes, SFTPHandle]):
    """paramiko forgets a folder that a client has closed, and closes it not."""

    def __delitem__(self, handle: bytes) -> None:
        self[handle].close()
        super().__delitem__(handle)


class Files(SFTPServerInterface):
    """What each request does, one system call each."""

    def __init__(self, server: ServerInterface) -> None:
        super().__init__(server)
        self.handles = 0

    def open(self, path: str, flags: int, attr: SFTPAttributes) -> SFTPHandle | int:
        if self.handles >= MOST_HANDLES:
            return SFTP_FAILURE
        mode = 0o666 if attr.st_mode is None else stat.S_IMODE(attr.st_mode)
        # Not blocking: a named pipe without a writer would hold the client's whole session.
        opened = _tried(lambda: _Descriptor(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, mode)))
        if isinstance(opened, int):
            return opened
        self.handles += 1
        return OpenFile(opened.number, flags, self)

    def open_folder(self, path: str) -> OpenFolder | int:
        return SFTP_FAILURE if self.handles >= MOST_HANDLES else _tried(lambda: OpenFolder(path, self))

    def stat(self, path: str) -> SFTPAttributes | int:
        return _tried(lambda: SFTPAttributes.from_stat(os.stat(path)))  # noqa: PTH116 - as the client writes it

    def lstat(self, path: str) -> SFTPAttributes | int:
        return _tried(lambda: SFTPAttributes.from_stat(os.lstat(path)))

    def remove(self, path: str) -> int:
        return _done(lambda: os.unlink(path))  # noqa: PTH108

    def rename(self, oldpath: str, newpath: str) -> int:
        if os.path.lexists(newpath):  # version 3 of the protocol never overwrites; posix_rename does
            return SFTP_FAILURE
        return _done(lambda: os.rename(oldpath, newpath))  # noqa: PTH104

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        return _done(lambda: os.rename(oldpath, newpath))  # noqa: PTH104

    def mkdir(self, path: str, attr: SFTPAttributes) -> int:
        mode = 0o777 if attr.st_mode is None else stat.S_IMODE(attr.st_mode)
        return _done(lambda: os.mkdir(path, mode))  # noqa: PTH102

    def rmdir(self, path: str) -> int:
        return _done(lambda: os.rmdir(path))  # noqa: PTH106

    def chattr(self, path: str, attr: SFTPAttributes) -> int:
        return _done(lambda: _change(path, attr))

    def canonicalize(self, path: str) -> str:
        return os.path.realpath(path or ".")

    def readlink(self, path: str) -> str | int:
        return _tried(lambda: os.readlink(path))  # noqa: PTH115

    def symlink(self, target_path: str, path: str) -> int:
        return _done(lambda: os.symlink(target_path, path))  # noqa: PTH211


class _Descriptor:
    """A descriptor that cannot be taken for an error's code."""

    def __init__(self, number: int) -> None:
        self.number = number


def _entry(entry: "os.DirEntry[str]") -> SFTPAttributes:
    name = os.fsencode(entry.name).decode(errors="replace")
    try:
        return SFTPAttributes.from_stat(entry.stat(follow_symlinks=False), name)
    except OSError:  # gone meanwhile, or not ours to look at
        found = SFTPAttributes()
        found.filename = name
        return found


def _change(target: str | int, attr: SFTPAttributes) -> None:
    """Change what ``attr`` names of a file or an open one; paramiko's own way empties a file that is to be cut."""
    named = attr._flags  # type: ignore[attr-defined]  # noqa: SLF001 - which of its fields the client sent
    if named & attr.FLAG_SIZE and attr.st_size is not None:
        os.truncate(target, attr.st_size)
    if named & attr.FLAG_PERMISSIONS and attr.st_mode is not None:
        os.chmod(target, stat.S_IMODE(attr.st_mode))  # noqa: PTH101 - also of a descriptor
    if named & attr.FLAG_UIDGID and attr.st_uid is not None and attr.st_gid is not None:
        os.chown(target, attr.st_uid, attr.st_gid)
    if named & attr.FLAG_AMTIME and attr.st_atime is not None and attr.st_mtime is not None:
        os.utime(target, (attr.st_atime, attr.st_mtime))
