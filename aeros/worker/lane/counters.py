"""What a worker counts."""

from __future__ import annotations

from typing import Protocol


class Counters(Protocol):
    """Called on the loop, once or twice per request: each call must cost well under 1 us."""

    def connection_opened(self) -> None: ...
    def connection_closed(self) -> None: ...
    def request_started(self) -> None: ...

    def request_finished(self, status: int, bytes_in: int, bytes_out: int, seconds: float) -> None:
        """status: 0 where no response was sent. Bytes are those of heads and bodies, without TLS."""

    def websocket_opened(self) -> None: ...
    def websocket_closed(self) -> None: ...
    def websocket_bytes(self, bytes_in: int, bytes_out: int) -> None: ...


class NullCounters:
    """Counts nothing."""

    def connection_opened(self) -> None:
        pass

    def connection_closed(self) -> None:
        pass

    def request_started(self) -> None:
        pass

    def request_finished(self, status: int, bytes_in: int, bytes_out: int, seconds: float) -> None:
        pass

    def websocket_opened(self) -> None:
        pass

    def websocket_closed(self) -> None:
        pass

    def websocket_bytes(self, bytes_in: int, bytes_out: int) -> None:
        pass
