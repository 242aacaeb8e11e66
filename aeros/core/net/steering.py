"""Datagrams of HTTP/3 find the worker that has their connection: by the kernel, which reads the connection id.

Each worker has a UDP socket of its own, all at one port, in one group of SO_REUSEPORT. Its number in the group is its
seat, and stands in every connection id that the worker gives out. A small program of BPF, which the kernel runs for
each datagram, reads the seat. So a connection keeps its worker when the client's address changes, when other workers
come and go, and while its worker drains. A datagram without a seat begins a connection: it goes to one that accepts.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Sequence

CID_BYTES = 12
"""Two of the seat, two of a mark, and eight that nobody can guess. RFC 9000 allows 20."""

SEATS_MOST = 1 << 16

#: What tells our connection ids from those that clients choose. These are random: one in 65536 of 12 bytes looks like
#: ours, and such a client may have to try again.
_MARK = 0xA305
_HEAD = struct.Struct(">HH")

_SO_ATTACH_REUSEPORT_CBPF = 51  # asm-generic/socket.h; not in Python's socket module
_INSTRUCTION = struct.Struct("HBBI")
#: Of linux/bpf_common.h, class, size or operation, and source in one number each.
_LOAD_BYTE, _LOAD_WORD, _TO_X, _FROM_X = 0x30, 0x20, 0x07, 0x87
_AND, _SHIFT_RIGHT, _MODULO = 0x54, 0x74, 0x94
_IF_EQUAL, _IF_SET, _GO, _RETURN, _RETURN_A = 0x15, 0x45, 0x05, 0x06, 0x16
#: Where RFC 8999 has the connection id: behind the flags in a short header, behind its length in a long one.
_SHORT_ID, _LENGTH, _LONG_ID = 1, 5, 6
_LONG_HEADER = 0x80


def new_cid(seat: int) -> bytes:
    """Return a connection id of the worker in `seat`."""
    return _HEAD.pack(seat, _MARK) + os.urandom(CID_BYTES - _HEAD.size)


def can_steer() -> bool:
    """Whether this system has such groups. They came with Linux 4.5."""
    return sys.platform == "linux"


def steer(sock: socket.socket, accepting: Sequence[int]) -> None:
    """Have the group of `sock` hand new connections to the seats in `accepting`, and what has a seat to that seat.

    Raises OSError where the kernel does not do that.
    """
    program = b"".join(_program(accepting))
    held = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HP", len(program) // _INSTRUCTION.size, ctypes.addressof(held))  # struct sock_fprog
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, described)


def _program(accepting: Sequence[int]) -> list[bytes]:
    """Return the instructions. They see the datagram from its first byte on, and return a seat.

    A load from beyond the end makes the program return 0, and a seat that does not exist is as good as any: some worker
    drops what is no QUIC. A jump has how many instructions to skip, if so and if not.
    """
    make = _INSTRUCTION.pack
    read_seat = [
        make(_LOAD_BYTE, 0, 0, 0),
        make(_IF_SET, 0, 4, _LONG_HEADER),
        make(_LOAD_BYTE, 0, 0, _LENGTH),
        make(_IF_EQUAL, 0, 9, CID_BYTES),  # to `choose`
        make(_LOAD_WORD, 0, 0, _LONG_ID),
        make(_GO, 0, 0, 1),
        make(_LOAD_WORD, 0, 0, _SHORT_ID),
        make(_TO_X, 0, 0, 0),
        make(_AND, 0, 0, 0xFFFF),
        make(_IF_EQUAL, 0, 3, _MARK),  # to `choose`
        make(_FROM_X, 0, 0, 0),
        make(_SHIFT_RIGHT, 0, 0, 16),
        make(_RETURN_A, 0, 0, 0),
    ]
    # By the client's connection id, which all datagrams have until it knows ours.
    choose = [make(_LOAD_WORD, 0, 0, _LONG_ID), make(_MODULO, 0, 0, len(accepting))]
    for number, seat in enumerate(accepting):
        choose += [make(_IF_EQUAL, 0, 1, number), make(_RETURN, 0, 0, seat)]
    return [*read_seat, *choose, make(_RETURN, 0, 0, accepting[0])]
