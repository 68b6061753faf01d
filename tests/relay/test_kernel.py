"""The kernel's two tables of sockets say the same; the quick one says nothing rather than too little."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest
from doorward_relay.contracts import KernelUnread
from doorward_relay.edges import kernel, sock_diag
from doorward_relay.view import CLOSE_WAIT, ESTABLISHED, LISTEN, Socket

pytestmark = pytest.mark.feature("E9")

KINDS = (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6), ("::", socket.AF_INET6))
"""Where is listened; what comes to the last has an IPv4 address inside IPv6."""


@pytest.fixture
def some() -> Iterator[frozenset[int]]:
    """Listen on IPv4, IPv6 and both, and be connected to each twice, the second time to somebody who has said all; gives the inodes."""
    with ExitStack() as ends:
        opened: list[socket.socket] = []
        for host, family in KINDS:
            listening = socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::")
            opened.append(ends.enter_context(listening))
            for has_said_all in (False, True):
                place = ("127.0.0.1" if host == "::" else host, listening.getsockname()[1])
                near = ends.enter_context(socket.create_connection(place))
                far = ends.enter_context(listening.accept()[0])
                opened += [near, far]
                if has_said_all:
                    near.shutdown(socket.SHUT_WR)
                    assert far.recv(1) == b""
        yield frozenset(os.fstat(one.fileno()).st_ino for one in opened)


def of(inodes: frozenset[int], sockets: Sequence[Socket] | None) -> set[Socket]:
    """Leave out what is other programs': theirs come and go."""
    return {one for one in sockets or () if one.inode in inodes}


def test_kernel_when_sockets_of_every_kind_are_there_then_both_tables_say_the_same(some: frozenset[int]) -> None:
    """Families, addresses inside addresses, states, users and inodes, of who listens and who is connected."""
    quick = of(some, sock_diag.sockets())
    assert quick == of(some, kernel.sockets_in_proc())
    states = [one.state for one in quick]
    assert [states.count(one) for one in (LISTEN, ESTABLISHED, CLOSE_WAIT)] == [3, 6, 3]
    assert {one.remote for one in quick if one.state == ESTABLISHED} == {"127.0.0.1", "::1"}


def test_kernel_when_it_refuses_the_quick_question_then_the_slow_one_is_asked(
    some: frozenset[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that is held is never taken for free because the kernel did not want to say."""
    usual = of(some, kernel.sockets())
    monkeypatch.setattr(sock_diag, "_SOCK_DIAG_BY_FAMILY", 99)
    assert sock_diag.sockets() is None
    assert of(some, kernel.sockets()) == usual


def test_kernel_when_no_descriptor_is_left_then_it_is_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither table is taken for empty."""

    def no_more(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("socket.socket", no_more)
    monkeypatch.setattr("pathlib.Path.read_text", no_more)
    with pytest.raises(KernelUnread):
        kernel.sockets()
