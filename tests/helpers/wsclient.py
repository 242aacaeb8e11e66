"""WebSocket clients: one held open that echoes all the time and writes down how each connection ended."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
from websockets.sync.client import ClientConnection, connect

from .http import Address


@dataclass(frozen=True)
class Ending:
    """How a connection ended: the close code the server sent (None: the connection was cut), and when."""

    code: int | None
    reason: str
    at: float
    pid: int
    version: str


def open_websocket(
    address: Address, path: str = "/ws", timeout_s: float = 10.0, headers: Mapping[str, str] | None = None
) -> ClientConnection:
    """A connected WebSocket. No proxy is asked, whatever the environment says."""
    assert not isinstance(address, str)
    host, port = address
    shown = f"[{host}]" if ":" in host else host
    return connect(
        f"ws://{shown}:{port}{path}",
        open_timeout=timeout_s,
        close_timeout=2,
        ping_interval=None,
        proxy=None,
        additional_headers=headers,
    )


def close_code(error: ConnectionClosed) -> int | None:
    return error.rcvd.code if error.rcvd is not None else None


class EchoClient(threading.Thread):
    """Keeps one WebSocket open, echoes on it, and connects again whenever it is closed."""

    def __init__(self, address: Address, pause_s: float = 0.05, timeout_s: float = 10.0) -> None:
        super().__init__(daemon=True, name="websocket")
        self.address = address
        self.pause_s = pause_s
        self.timeout_s = timeout_s
        self.over = threading.Event()
        self.connected = threading.Event()
        self.endings: list[Ending] = []
        self.faults: list[str] = []
        self.echoes = 0
        self.opened = 0

    def __enter__(self) -> EchoClient:
        self.start()
        assert self.connected.wait(self.timeout_s), f"no WebSocket: {self.faults}"
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join(self.timeout_s + 10)
        assert not self.is_alive(), "the WebSocket client does not end"

    @property
    def codes(self) -> list[int | None]:
        return [ending.code for ending in self.endings]

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self._hold()
            except (OSError, InvalidHandshake, InvalidMessage, ConnectionClosed) as error:
                self.faults.append(f"opening: {error!r}")
                self.over.wait(self.pause_s)

    def _hold(self) -> None:
        with open_websocket(self.address, timeout_s=self.timeout_s) as websocket:
            self.opened += 1
            pid, version = 0, ""
            try:
                hello = json.loads(websocket.recv(timeout=self.timeout_s))
                pid, version = hello["pid"], hello["version"]
                self.connected.set()
                while not self.over.is_set():
                    word = f"echo {self.echoes}"
                    websocket.send(word)
                    heard = websocket.recv(timeout=self.timeout_s)
                    if heard != word:
                        self.faults.append(f"sent {word!r}, heard {heard!r}")
                    self.echoes += 1
                    self.over.wait(self.pause_s)
            except ConnectionClosed as error:
                reason = error.rcvd.reason if error.rcvd is not None else ""
                self.endings.append(Ending(close_code(error), reason, time.monotonic(), pid, version))
            except TimeoutError:
                self.faults.append("no echo in time")
