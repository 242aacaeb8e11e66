"""For whom a summons is: what stands in the variable and behind its descriptor is believed only where both fit."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from aeros.core.ipc.channel import Channel, channel_pair
from aeros.core.ipc.messages import Arrived, Heir, ProtocolError, decode
from aeros.supervisor.system.summons import CHANNEL_VARIABLE, take

#: Run as a child: says what `take` makes of the variable, with descriptor 3 as it is handed down.
CHILD = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
from aeros.supervisor.system.summons import CHANNEL_VARIABLE, take
value = sys.argv[1].format(me=os.getpid(), parent=os.getppid(), other=os.getpid() + 1)
environ = {{CHANNEL_VARIABLE: value}}
try:
    found = take(CHANNEL_VARIABLE, environ)
except Exception as error:
    print(type(error).__name__, end=" ")
else:
    print("summoned" if found else "not meant", end=" ")
    if found:
        assert found.fileno() >= 8, found.fileno()
assert not environ
try:
    os.fstat(3)
    print("3 is open")
except OSError:
    print("3 is closed")
"""


def _pair(stack: ExitStack) -> int:
    ours, theirs = socket.socketpair()
    stack.enter_context(ours)
    return stack.enter_context(theirs).fileno()


def _tcp(stack: ExitStack) -> int:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    return stack.enter_context(socket.create_connection(listener.getsockname())).fileno()


def _named_unix(stack: ExitStack) -> int:
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(f"\0aeros-test-{os.getpid()}")
    listener.listen()
    client = stack.enter_context(socket.socket(socket.AF_UNIX))
    client.connect(listener.getsockname())
    return client.fileno()


def _datagrams(stack: ExitStack) -> int:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    stack.enter_context(ours)
    return stack.enter_context(theirs).fileno()


def _pipe(stack: ExitStack) -> int:
    ours, theirs = os.pipe()
    stack.callback(os.close, ours)
    stack.callback(os.close, theirs)
    return theirs


@pytest.mark.parametrize(
    ("value", "what", "said"),
    [
        ("{me}:{parent}:3", _pair, "summoned 3 is closed"),
        ("{me}:{parent}:3+faulthandler", _pair, "summoned 3 is closed"),
        # A frozen program, and a supervisor of an older version.
        (":{parent}:3", _pair, "summoned 3 is closed"),
        ("3+faulthandler", _pair, "summoned 3 is closed"),
        # Inherited from the one that is meant.
        ("{other}:{parent}:3", _pair, "not meant 3 is open"),
        ("{parent}:1:3", _pair, "not meant 3 is open"),
        (":{me}:3", _pair, "not meant 3 is open"),
        ("3", _tcp, "not meant 3 is open"),
        # The descriptor is something else by now.
        ("{me}:{parent}:3", _tcp, "StartError 3 is open"),
        ("{me}:{parent}:3", _named_unix, "StartError 3 is open"),
        ("{me}:{parent}:3", _datagrams, "StartError 3 is open"),
        ("{me}:{parent}:3", _pipe, "StartError 3 is open"),
        (":{parent}:3", _pipe, "not meant 3 is open"),
        ("{other}:{parent}:3", _named_unix, "not meant 3 is open"),
        *((value, _pair, "not meant 3 is open") for value in ("", "x", "1:2:-3", "1:2", "3:3+", "٣", "9" * 30, "0x3")),
    ],
)
def test_who_is_meant(value: str, what: Callable[[ExitStack], int], said: str) -> None:
    with ExitStack() as stack:
        fd = what(stack)
        done = subprocess.run(
            [sys.executable, "-c", CHILD, value],
            preexec_fn=lambda: os.dup2(fd, 3),
            close_fds=False,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.stdout.strip(), done.stderr) == (said, "")


def test_a_pair_that_another_process_has_made_is_nobodys_line() -> None:
    """The kernel says who has: here this process, which is no child of itself."""
    with ExitStack() as stack:
        fd = _pair(stack)
        told = {CHANNEL_VARIABLE: f":{os.getppid()}:{fd}"}
        assert take(CHANNEL_VARIABLE, told) is None
        assert not told
        os.fstat(fd)


@pytest.mark.skipif(sys.platform != "linux", reason="SCM_CREDENTIALS is Linux's")
def test_only_the_process_that_was_started_may_speak() -> None:
    channel, theirs = channel_pair("the new program", identified=True)
    there = Channel(theirs, "us")
    channel.only_from = os.getpid()
    there.send(Arrived(os.getpid(), "1"))
    assert [message for message, _ in channel.receive()] == [Arrived(os.getpid(), "1")]
    there.send(Arrived(os.getpid(), "2"))
    child = os.fork()
    if child == 0:
        there.send(Arrived(os.getpid(), "3"))
        os._exit(0)
    os.waitpid(child, 0)
    # One by one, though both wait: what two processes send is never one read.
    assert [message for message, _ in channel.receive()] == [Arrived(os.getpid(), "2")]
    with pytest.raises(ProtocolError, match=f"process {child} spoke on the line of the new program"):
        channel.receive()
    there.close()
    channel.close()


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1" + "0" * 400, "9" * 5000, "1e999", "-1e19"])
def test_numbers_are_bounded_however_deep_they_are(number: str) -> None:
    for facts in (f'{{"prepare_s": {number}}}', f'{{"a": [{{"b": [{number}]}}]}}'):
        with pytest.raises(ProtocolError, match=r"no number|out of range"):
            decode(f'{{"kind": "Heir", "pid": 1, "facts": {facts}}}'.encode(), "it")
    with pytest.raises(ProtocolError, match=r"no number|out of range"):
        decode(f'{{"kind": "Heir", "pid": {number}, "facts": {{}}}}'.encode(), "it")
    assert decode(b'{"kind": "Heir", "pid": 1, "facts": {"a": 9e18, "b": -9223372036854775808}}', "it") == Heir(
        1, {"a": 9e18, "b": -(2**63)}
    )
