"""A two-way line of messages over one end of a Unix socketpair, with file descriptors alongside.

The supervisor and the workers use it from an event loop (never blocking, `flush` when writable); the zygote
uses it blocking. End-of-file means the other process is gone, which is how a worker learns that its
supervisor died: only the supervisor ever holds the other end.
"""

from __future__ import annotations

import array
import os
import select
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from ..clock import monotonic
from ..record import record
from .messages import MAX_MESSAGE_BYTES, Message, ProtocolError, decode, encode, expected_fds

_HEADER = struct.Struct("!I")
#: struct ucred: pid, uid, gid
_CREDENTIALS = struct.Struct("3i")
_READ_BYTES = 65536
_MAX_FDS = 253  # SCM_MAX_FD on Linux
_MAX_PENDING_BYTES = 8 * MAX_MESSAGE_BYTES


@record
class Bounds:
    """What the other end may cost this process. fds: received and not yet claimed by a message; with 0 the kernel
    throws them away. message_bytes: one message to us. pending_bytes: what waits because it does not read."""

    fds: int = _MAX_FDS
    message_bytes: int = MAX_MESSAGE_BYTES
    pending_bytes: int = _MAX_PENDING_BYTES


class ChannelClosed(Exception):  # noqa: N818 - a state of the line
    """The other end is gone."""


class Channel:
    """One end of the line. `peer` names the other process in errors. Not thread-safe."""

    def __init__(
        self, sock: socket.socket, peer: str, bounds: Bounds | None = None, *, identified: bool = False
    ) -> None:
        """identified: have the kernel say which process each message is from, and take those of `only_from` alone."""
        self._sock = sock
        self._bounds = bounds or Bounds()
        self._room = socket.CMSG_SPACE(_MAX_FDS * 4) if self._bounds.fds else 0
        self._identified = identified and sys.platform == "linux"
        if self._identified:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._room += socket.CMSG_SPACE(_CREDENTIALS.size)
        #: The pid of the one process that may speak here. Set before the first `receive`.
        self.only_from = 0
        self.peer = peer
        #: Copies a descriptor that has to wait. Raises OSError.
        self.dup: Callable[[int], int] = os.dup
        self._incoming = bytearray()
        self._incoming_fds: deque[int] = deque()
        self._outgoing: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._pending_bytes = 0
        self._eof = False
        self._lost_fds = False
        #: How much was ever read.
        self.bytes_read = 0

    def fileno(self) -> int:
        """Return the descriptor to wait on; -1 when closed."""
        return self._sock.fileno()

    def setblocking(self, blocking: bool) -> None:
        self._sock.setblocking(blocking)

    def first(self, timeout_s: float) -> tuple[Message, list[int]] | None:
        """Wait for a message; None where none has come whole within `timeout_s`. The line blocks from then on.

        Raises ChannelClosed, ProtocolError.
        """
        until = monotonic() + timeout_s
        self._sock.setblocking(False)
        received = self.receive(1)
        while not received and (left := until - monotonic()) > 0:
            select.select([self._sock], [], [], left)
            received = self.receive(1)
        self._sock.setblocking(True)
        return received[0] if received else None

    @property
    def pending(self) -> bool:
        """Whether something waits to be flushed."""
        return bool(self._outgoing)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Queue `message` and send what the socket takes now. The descriptors are duplicated, the caller keeps
        its own. Raises ChannelClosed when the other end is gone or takes nothing any more, OSError when there are
        no descriptors left; nothing was sent then."""
        if len(fds) != expected_fds(message):
            raise ValueError(f"{type(message).__name__} goes with {expected_fds(message)} fds, not {len(fds)}")
        body = encode(message)
        data = _HEADER.pack(len(body)) + body
        if not self._outgoing:
            # Straight away where the socket takes it: no descriptor is needed for a copy then, and there may be none.
            sent = self._transmit(data, fds)
            if sent == len(data):
                return
            if sent:
                data, fds = data[sent:], ()
        copies: list[int] = []
        try:
            for fd in fds:
                copies.append(self.dup(fd))
        except OSError:
            for fd in copies:
                os.close(fd)
            raise
        self._outgoing.append((data, tuple(copies)))
        self._pending_bytes += len(data)
        if self._pending_bytes > self._bounds.pending_bytes:
            raise ChannelClosed(f"{self.peer} has stopped reading")
        self.flush()

    def flush(self) -> bool:
        """Send what is queued; True when nothing is left. Raises ChannelClosed when the other end is gone."""
        while self._outgoing:
            data, fds = self._outgoing[0]
            sent = self._transmit(data, fds)
            if not sent:
                return False
            for fd in fds:
                os.close(fd)
            self._pending_bytes -= sent
            if sent == len(data):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = (data[sent:], ())
        self._pending_bytes = 0
        return True

    def _transmit(self, data: bytes, fds: Sequence[int]) -> int:
        """Return how much the socket took, 0 when it is full."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            return self._sock.sendmsg([data], ancillary, _NO_SIGNAL)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise ChannelClosed(f"{self.peer} is gone ({error})") from None

    @property
    def holds_strays(self) -> bool:
        """Whether descriptors have come that go with no message."""
        return bool(self._incoming_fds) and not self._incoming

    @property
    def holds_message(self) -> bool:
        """Whether `receive` would return a message, or raise, without reading: the socket need not be readable."""
        if self._eof:
            return True
        if len(self._incoming) < _HEADER.size:
            return False
        (length,) = _HEADER.unpack_from(self._incoming)
        return bool(length > self._bounds.message_bytes or len(self._incoming) >= _HEADER.size + length)

    def receive(self, most: int | None = None) -> list[tuple[Message, list[int]]]:
        """Return the messages that have arrived, each with its descriptors (now owned by the caller).

        most: no more than so many, for who shares the caller's time with others; the rest is kept (`holds_message`).

        A message whose `fds_may_be_lost` comes without some of them when this process is out of descriptors.
        Blocking sockets wait for at least some bytes. Raises ChannelClosed at end-of-file (after the last whole
        message was returned) and ProtocolError for what is not a message.
        """
        messages = self._decode_whole(most) if most is not None else []
        while not self._eof and not messages:
            try:
                data, ancillary, flags, _ = self._sock.recvmsg(_READ_BYTES, self._room, _CLOEXEC)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data, ancillary, flags = b"", [], 0
            if self._identified and data:
                self._check_sender(ancillary)
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    received = array.array("i")
                    received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
                    for fd in received:
                        os.set_inheritable(fd, False)
                    self._incoming_fds.extend(received)
            if len(self._incoming_fds) > self._bounds.fds:
                raise ProtocolError(f"{self.peer} sent {len(self._incoming_fds)} descriptors that go with no message")
            # This process is out of descriptors: what the message came with is lost.
            self._lost_fds = self._lost_fds or bool(flags & socket.MSG_CTRUNC)
            self._eof = not data
            self._incoming += data
            self.bytes_read += len(data)
            messages = self._decode_whole(most)
        if self._eof and not messages:
            raise ChannelClosed(f"{self.peer} closed the channel")
        return messages

    def _check_sender(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        """Raise ProtocolError where the kernel says that another process than `only_from` has sent this.

        The other end may be open in more processes than one: whatever a program starts inherits its descriptors. The
        kernel joins nothing that comes from two of them (unix(7), SO_PASSCRED), so one look per read is enough.
        """
        sender = 0
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS) and len(payload) == _CREDENTIALS.size:
                sender = _CREDENTIALS.unpack(payload)[0]
        if sender != self.only_from:
            _close_received(ancillary)
            raise ProtocolError(f"process {sender} spoke on the line of {self.peer}, which is process {self.only_from}")

    def _decode_whole(self, most: int | None) -> list[tuple[Message, list[int]]]:
        messages: list[tuple[Message, list[int]]] = []
        try:
            self._decode_into(messages, most)
        except ProtocolError:
            close_fds(messages)
            raise
        return messages

    def _decode_into(self, messages: list[tuple[Message, list[int]]], most: int | None) -> None:
        while len(self._incoming) >= _HEADER.size and (most is None or len(messages) < most):
            (length,) = _HEADER.unpack_from(self._incoming)
            if length > self._bounds.message_bytes:
                raise ProtocolError(
                    f"{self.peer} announced a message of {length} bytes; {self._bounds.message_bytes} is the most"
                )
            end = _HEADER.size + length
            if len(self._incoming) < end:
                break
            message = decode(bytes(self._incoming[_HEADER.size : end]), self.peer)
            del self._incoming[:end]
            wanted = expected_fds(message)
            if (fewest := type(message).fewest_fds) is not None:
                wanted = max(fewest, min(wanted, len(self._incoming_fds)))
            if not 0 <= wanted <= len(self._incoming_fds):
                # The kernel never joins two messages that came with descriptors, so it is this one that lost some.
                if not (self._lost_fds and type(message).fds_may_be_lost):
                    raise ProtocolError(f"{self.peer} sent {type(message).__name__} without its descriptors")
                wanted, self._lost_fds = len(self._incoming_fds), False
            messages.append((message, [self._incoming_fds.popleft() for _ in range(wanted)]))

    def close(self) -> None:
        """Close the line and every descriptor that was on its way."""
        for _, fds in self._outgoing:
            for fd in fds:
                os.close(fd)
        self._outgoing.clear()
        while self._incoming_fds:
            os.close(self._incoming_fds.popleft())
        self._sock.close()


_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def _close_received(ancillary: list[tuple[int, int, bytes]]) -> None:
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            for (fd,) in struct.iter_unpack("i", payload[: len(payload) - len(payload) % 4]):
                os.close(fd)


def close_fds(messages: Iterable[tuple[Message, list[int]]]) -> None:
    """Let go of what came with messages that nobody will look at."""
    for _, fds in messages:
        for fd in fds:
            os.close(fd)


def channel_pair(
    there: str, bounds: Bounds | None = None, *, identified: bool = False
) -> tuple[Channel, socket.socket]:
    """Return (our end as a non-blocking channel to `there`, the other end's bare socket to hand to it)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.setblocking(False)
    return Channel(ours, there, bounds, identified=identified), theirs
