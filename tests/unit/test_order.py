"""The first worker's order, written before there is anybody to read it."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from aeros.core.ipc.channel import Channel, channel_pair
from aeros.core.ipc.messages import Fork
from aeros.core.shared.worker_file import STACKS_AT
from aeros.supervisor.system.system import System
from aeros.supervisor.zygotes import order
from tests.helpers.proc import open_fds


@contextmanager
def lines() -> Iterator[tuple[Channel, Channel]]:
    """The supervisor's end of the line to a zygote, and the zygote's."""
    ours, socket = channel_pair("the zygote")
    theirs = Channel(socket, "the supervisor")
    theirs.setblocking(False)
    try:
        yield ours, theirs
    finally:
        ours.close()
        theirs.close()


def test_it_can_be_read_by_who_comes_later() -> None:
    with lines() as (ours, theirs):
        pilot = order.order_pilot(System(), ours)
        assert pilot is not None
        pilot.theirs.close()  # in flight by now
        ((message, fds),) = theirs.receive()
        assert message == Fork(pilot.ident, 0, 1, pilot.cell, pilot.nonce, pilot.at)
        os.write(fds[0], b"x")
        os.write(fds[1], b"stacks")
        assert os.pread(pilot.file_fd, 6, STACKS_AT) == b"stacks"
        for fd in fds:
            os.close(fd)
        pilot.close()


@pytest.mark.parametrize("room", range(3))
def test_without_descriptors_there_is_none_and_nothing_is_left(room: int) -> None:
    with lines() as (ours, theirs):
        before = open_fds()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        spare = os.dup(0)
        os.close(spare)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare + room, limits[1]))
        try:
            assert order.order_pilot(System(), ours) is None
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert open_fds() == before
        assert not list(theirs.receive())


def test_one_that_cannot_be_sent_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    with lines() as (ours, _):

        def refuse(message: object, fds: object) -> None:
            raise OSError(errno.ENOBUFS, "no room")

        monkeypatch.setattr(ours, "send", refuse)
        before = open_fds()
        assert order.order_pilot(System(), ours) is None
        assert open_fds() == before
