"""How far a WebSocket is, and the close codes that are ours to give."""

from __future__ import annotations

from enum import Enum

NORMAL = 1000
ABNORMAL = 1006
INTERNAL_ERROR = 1011


class State(Enum):
    CONNECTING = 1  # the app has not answered the handshake
    REJECTING = 2  # it is answering with a response of its own
    OPEN = 3
    CLOSING = 4  # we have sent a close frame, or all of another response
    CLOSED = 5


CONNECTING, REJECTING, OPEN, CLOSING, CLOSED = State
