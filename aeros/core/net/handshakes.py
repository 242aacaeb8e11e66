"""The moment between the last look into an accept queue and the end of its listener."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct

from .accept_queue import accept_queue

_SO_ATTACH_FILTER = 26
# Instructions of the classic packet filter (linux/filter.h): code, jump if true, jump if false, operand.
_DROP_SYN = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte with the flags of the TCP header
        (0x45, 0, 1, 0x02),  # is SYN among them?
        (0x06, 0, 0, 0),  # then drop it
        (0x06, 0, 0, 0xFFFFFFFF),
    )
)


def begin_no_more(sock: socket.socket) -> bool:
    """Have the kernel begin no more handshakes at a listening TCP socket, for whoever shares it; whether it does so.

    Who connects after the last accept and before the listener is gone is told by the kernel that it worked, and is
    then reset: a request it has sent by then cannot be sent again. Like this it is not answered, tries again after a
    second, and is refused. Handshakes under way end as they would. There is no way back.
    """
    if accept_queue(sock) is None:  # no TCP socket of Linux
        return False
    program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    with contextlib.suppress(OSError):
        sock.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_DROP_SYN) // 8, ctypes.addressof(program))
        )
        return True
    return False
