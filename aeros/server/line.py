"""Questions to a supervisor and its answers, over one channel, from any number of threads."""

from __future__ import annotations

import contextlib
import select
import threading
from typing import Any

from .. import errors
from ..core.clock import monotonic
from ..core.ipc.channel import Channel, ChannelClosed
from ..core.ipc.messages import Answer, Command, Greeting, Hello, ProtocolError
from ..errors import AerosError, ControlError, NotAServerError, ServerStopped
from ..version import __version__

#: How long the server may take to answer what it can answer at once.
ANSWER_TIMEOUT_S = 10.0


class Line:
    """One thread reads; the others wait for what it finds. gone: the server has closed its end, or we ours."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._channel.setblocking(False)
        self._lock = threading.Condition()
        self._reading = False
        self._requests = 0
        self._answers: dict[int, Answer] = {}
        self.gone = False

    def greet(self) -> tuple[Greeting, list[int]]:
        """Return what the server says of itself, and the scoreboard's files. Raises ControlError."""
        deadline = monotonic() + ANSWER_TIMEOUT_S
        try:
            self._channel.send(Hello(__version__))
            while monotonic() < deadline:
                select.select([self._channel.fileno()], [], [], max(0.0, deadline - monotonic()))
                for message, fds in self._channel.receive():
                    if isinstance(message, Greeting):
                        return message, fds
                    raise NotAServerError(getattr(message, "error", "") or "it does not answer as an Aeros server")
        except ChannelClosed:
            raise ServerStopped("the server closed the connection") from None
        except ProtocolError as error:
            raise NotAServerError(str(error)) from None
        raise ControlError(f"no answer within {ANSWER_TIMEOUT_S:.0f} s")

    def ask(self, verb: str, arguments: dict[str, Any], timeout: float | None, whose: str = "") -> dict[str, Any]:
        """Return the answer. timeout: seconds, None: no end. whose: as in " (pid 17)", for the error of a timeout."""
        deadline = None if timeout is None else monotonic() + timeout
        with self._lock:
            self._requests += 1
            request = self._requests
            try:
                self._channel.send(Command(request, verb, arguments))
            except (ChannelClosed, OSError):
                self.gone = True
                raise ServerStopped("the server has stopped") from None
        while True:
            with self._lock:
                answer = self._answers.pop(request, None)
                gone = self.gone
            if answer is not None:
                return _result(answer)
            if gone:
                raise ServerStopped("the server has stopped")
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                raise ControlError(f"the server{whose} has not answered {verb!r} within {timeout} s")
            self.listen(0.5 if left is None else min(0.5, left))

    def listen(self, seconds: float) -> None:
        """Wait for something to happen on the line. One thread reads; the others wait for what it finds."""
        with self._lock:
            if self._reading:
                self._lock.wait(seconds)
                return
            if self.gone:
                self._lock.wait(min(seconds, 0.02))
                return
            self._reading = True
        try:
            ready, _, _ = select.select([self._channel.fileno()], [], [], seconds)
            if ready:
                self._take()
        except (OSError, ValueError):
            self.gone = True
        finally:
            with self._lock:
                self._reading = False
                self._lock.notify_all()

    def _take(self) -> None:
        with self._lock:
            try:
                for message, _ in self._channel.receive():
                    if isinstance(message, Answer):
                        self._answers[message.request] = message
            except (ChannelClosed, ProtocolError):
                self.gone = True

    def close(self) -> None:
        """Close our end, and wake who waits for an answer."""
        self.gone = True
        with self._lock:
            self._channel.close()
            self._lock.notify_all()


def _result(answer: Answer) -> dict[str, Any]:
    if not answer.error:
        return answer.result
    kind = getattr(errors, answer.error_kind, ControlError)
    if not (isinstance(kind, type) and issubclass(kind, AerosError)):
        kind = ControlError
    if answer.traceback:
        with contextlib.suppress(TypeError):  # not every error carries one
            raise kind(answer.error, traceback=answer.traceback)  # type: ignore[call-arg]
    raise kind(answer.error)
