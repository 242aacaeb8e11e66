"""The control line under a flood: clients get the supervisor's time in moments, workers and zygotes do not wait."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aeros.core.ipc.channel import Channel
from aeros.core.ipc.messages import Answer, Command, encode
from aeros.core.log.lines import LineLog
from aeros.errors import AerosError
from aeros.supervisor.control.socket import MAX_CLIENTS, ControlLine
from aeros.supervisor.system.system import System

#: Of the processor's time, so that a busy machine does not count; a turn is 2 ms, and what is under way then ends.
MOST_S = 0.02


class Obedient:
    def obey(self, verb: str, arguments: dict[str, Any], reply: Callable[[dict[str, Any] | AerosError], None]) -> None:
        reply({})


def framed(*commands: Command) -> bytes:
    return b"".join(struct.pack("!I", len(data)) + data for data in map(encode, commands))


def no_scoreboard() -> list[int]:
    raise OSError("none")


async def flooded(clients: int, said: bytes) -> tuple[float, int]:
    """All of them send this at once and read their answers: the longest the loop was theirs, and how many answers."""
    line = ControlLine(Obedient(), no_scoreboard, LineLog(""), System())
    heard = 0
    ends = []
    for _ in range(clients):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        line.adopt(Channel(ours, "a control client"))
        assert theirs.send(said) == len(said)
        ends.append(Channel(theirs, "the supervisor"))
    wanted = clients * said.count(b'"ping"')
    longest = 0.0
    deadline = time.monotonic() + 30
    while heard < wanted:
        assert time.monotonic() < deadline, f"{heard} of {wanted} answers"
        begun = time.thread_time()
        await asyncio.sleep(0)  # what the loop does before it comes back is what others wait for
        longest = max(longest, time.thread_time() - begun)
        for end in ends:
            heard += sum(isinstance(message, Answer) for message, _ in end.receive())
    for end in ends:
        end.close()
    line.close()
    return longest, heard


def test_one_too_many_that_has_left_already(tmp_path: Path) -> None:
    """It is told that there is no place, which fails; that is no error of ours, and the connection is let go of."""

    async def check() -> None:
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
        line = ControlLine(Obedient(), no_scoreboard, LineLog(""), System())
        line.open(str(tmp_path / "socket"))
        pairs = [socket.socketpair() for _ in range(MAX_CLIENTS)]
        for ours, _ in pairs:
            ours.setblocking(False)
            line.adopt(Channel(ours, "a control client"))
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(line.path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(line.path)
            client.setblocking(False)
            async with asyncio.timeout(10):
                assert b"clients are connected" in await asyncio.get_running_loop().sock_recv(client, 1 << 16)
        assert not faults
        line.close()
        for _, theirs in pairs:
            theirs.close()

    asyncio.run(check())


def test_a_flood_holds_the_loop_for_moments_only() -> None:
    pings = framed(*(Command(number, "ping", {}) for number in range(200)))
    longest, heard = asyncio.run(flooded(MAX_CLIENTS, pings))
    print(f"{heard} commands of {MAX_CLIENTS} clients; the loop was theirs for {longest * 1000:.1f} ms at most")
    assert longest < MOST_S
