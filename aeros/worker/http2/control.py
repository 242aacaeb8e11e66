"""The frames of HTTP/2 that steer a connection and carry nothing of a request: settings, windows, resets, pings.

Each function takes the connection and the frame's flags, stream and payload. ConnectionFault is what the client gets a
GOAWAY for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .frames import (
    ACK,
    ENABLE_CONNECT_PROTOCOL,
    ENABLE_PUSH,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    SETTINGS_ACK,
    WINDOW_MAX,
    WINDOW_UPDATE,
    ConnectionFault,
    StreamFault,
    frame,
    read_settings,
)
from .output import FRAME_MAX

if TYPE_CHECKING:
    from .departure import Departure
    from .flood_guard import Allowance
    from .streams import Streams


class Steered(Protocol):
    """A connection as these frames see it. settled: the client's SETTINGS have come."""

    settled: bool
    allowance: Allowance
    streams: Streams
    departure: Departure


def on_priority(connection: Steered, flags: int, stream_id: int, payload: bytes) -> None:
    connection.allowance.take(PRIORITY)
    if not stream_id:
        raise ConnectionFault(PROTOCOL_ERROR, "PRIORITY on stream 0")
    if len(payload) != 5:
        connection.streams.fault(stream_id, FRAME_SIZE_ERROR)
    elif int.from_bytes(payload[:4], "big") & 0x7FFFFFFF == stream_id:
        connection.streams.fault(stream_id, PROTOCOL_ERROR)


def on_rst_stream(connection: Steered, flags: int, stream_id: int, payload: bytes) -> None:
    connection.allowance.take(RST_STREAM)
    if len(payload) != 4:
        raise ConnectionFault(FRAME_SIZE_ERROR, "RST_STREAM of a wrong length")
    stream = connection.streams.find(stream_id)
    if stream is not None:
        connection.streams.reset_by_client(stream)


def on_settings(connection: Steered, flags: int, stream_id: int, payload: bytes) -> None:
    if stream_id:
        raise ConnectionFault(PROTOCOL_ERROR, "SETTINGS on a stream")
    if flags & ACK:
        if payload:
            raise ConnectionFault(FRAME_SIZE_ERROR, "SETTINGS ACK with a payload")
        if not connection.settled:
            raise ConnectionFault(PROTOCOL_ERROR, "no SETTINGS at the beginning")
        connection.allowance.take(SETTINGS)
        return
    connection.allowance.take(SETTINGS)
    connection.settled = True
    output = connection.streams.output
    for number, value in read_settings(payload):
        if number == INITIAL_WINDOW_SIZE:
            if value > WINDOW_MAX:
                raise ConnectionFault(FLOW_CONTROL_ERROR, "an initial window too large")
            change = value - output.initial_window
            output.initial_window = value
            for stream in list(connection.streams.open.values()):
                try:
                    output.open_stream_window(stream, change)
                except StreamFault as fault:
                    raise ConnectionFault(fault.code, "an initial window too large") from fault
        elif number == MAX_FRAME_SIZE:
            if not 1 << 14 <= value < 1 << 24:
                raise ConnectionFault(PROTOCOL_ERROR, "a frame size out of range")
            output.frame_size = min(value, FRAME_MAX)
        elif number == ENABLE_PUSH:
            if value > 1:
                raise ConnectionFault(PROTOCOL_ERROR, "ENABLE_PUSH neither 0 nor 1")
            connection.streams.accepts_push = bool(value)
        elif number == MAX_CONCURRENT_STREAMS:
            connection.streams.push_limit = value
        elif number == ENABLE_CONNECT_PROTOCOL and value > 1:
            raise ConnectionFault(PROTOCOL_ERROR, "ENABLE_CONNECT_PROTOCOL neither 0 nor 1")
    output.write(SETTINGS_ACK)


def on_push_promise(connection: Steered, flags: int, stream_id: int, payload: bytes) -> None:
    raise ConnectionFault(PROTOCOL_ERROR, "PUSH_PROMISE from a client")


def on_ping(connection: Steered, flags: int, stream_id: int, payload: bytes) -> None:
    connection.allowance.take(PING)
    if stream_id:
        raise ConnectionFault(PROTOCOL_ERROR, "PING on a stream")
    if len(payload) != 8:
        raise ConnectionFault(FRAME_SIZE_ERROR, "PING of a wrong length")
    if not flags & ACK:
        connection.streams.output.write(frame(PING, ACK, 0, payload))


def on_goaway(connection: Steered, flags: int, stream_id: int, payload: bytes) -> None:
    if stream_id:
        raise ConnectionFault(PROTOCOL_ERROR, "GOAWAY on a stream")
    if len(payload) < 8:
        raise ConnectionFault(FRAME_SIZE_ERROR, "GOAWAY too short")
    connection.allowance.take(PING)
    connection.streams.accepts_push = False
    connection.departure.client_leaves()


def on_window_update(connection: Steered, flags: int, stream_id: int, payload: bytes) -> None:
    connection.allowance.take(WINDOW_UPDATE)
    if len(payload) != 4:
        raise ConnectionFault(FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong length")
    increment = int.from_bytes(payload, "big") & 0x7FFFFFFF
    if not stream_id:
        if not increment:
            raise ConnectionFault(PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        connection.streams.output.open_window(increment)
        return
    stream = connection.streams.find(stream_id)
    if stream is None:
        return
    if not increment:
        connection.streams.fault(stream_id, PROTOCOL_ERROR)
        return
    try:
        connection.streams.output.open_stream_window(stream, increment)
    except StreamFault as fault:
        connection.streams.fault(stream_id, fault.code)


HANDLERS: dict[int, Callable[[Steered, int, int, bytes], None]] = {
    PRIORITY: on_priority,
    RST_STREAM: on_rst_stream,
    SETTINGS: on_settings,
    PUSH_PROMISE: on_push_promise,
    PING: on_ping,
    GOAWAY: on_goaway,
    WINDOW_UPDATE: on_window_update,
}
