"""The first program of `aeros run`, while a child of the supervisor-to-be loads it.

The child says `Loading` before the app's first line, then `Founding` when it has the app, or `LoadFailed`. A signal to
stop ends the load; those that only a server can answer wait until there is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

from ...core.clock import show_duration
from ...core.exitcodes import ExitCode
from ...core.ipc.channel import Channel, ChannelClosed, close_fds
from ...core.ipc.messages import Founding, LoadFailed, Loading, Message, ProtocolError
from ...core.log.spoken import speak_json
from ...core.process.signalling import descendants, describe_exit, reap
from ...errors import StartError
from ..system.handlers import Handlers

#: For a program that was asked to end while it loads the app.
_END_S = 2.0
#: Exit codes that say what is wrong, where nothing else does.
_TELLING = (ExitCode.USAGE, ExitCode.APP, ExitCode.BIND)
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class LoadStopped(Exception):  # noqa: N818 - a state of the load
    """A signal has ended the load, as it was to."""


class FirstLoad:
    """The child. When it has said `Founding`, its channel is the supervisor's to read."""

    def __init__(self, channel: Channel, pid: int, name: str, hand: Handlers) -> None:
        """name: of what is loaded."""
        self.channel = channel
        self.pid = pid
        #: What it said before it loaded the app.
        self.loading: Loading | None = None
        self._founding: Founding | None = None
        self._failure: LoadFailed | None = None
        self._lie = ""
        self._name = name
        self._hand = hand
        self._status = -1
        self._stop_asked = self._aborted = False
        #: It has said what there is to say, or has ended.
        self._over = asyncio.Event()
        self._ended = asyncio.Event()

    def founding(self) -> Founding:
        """Wait until it has the app. Raises LoadStopped, StartError; the child has ended then."""
        loop = self._hand.loop
        self._hand.hand_to(self._on_signal)
        loop.add_reader(self.channel.fileno(), self._on_readable)
        loop.run_until_complete(self._over.wait())
        loop.remove_reader(self.channel.fileno())
        self._hand.pause()
        if self._founding is not None and not self._stop_asked:
            return self._founding
        if not self._ended.is_set():
            self.end()
        self.channel.close()
        if self._aborted:
            sys.exit(int(ExitCode.FAILURE))  # who wanted to see its stack knows why
        if self._stop_asked:
            raise LoadStopped
        raise self._why()

    def end(self) -> None:
        """Have it end, as it does when its line is closed; kill it if it does not."""
        loop = self._hand.loop
        self._hand.hand_to(self._on_signal)
        self.channel.close()
        self._look()
        with contextlib.suppress(TimeoutError):
            loop.run_until_complete(asyncio.wait_for(self._ended.wait(), _END_S))
        if not self._ended.is_set():
            self._kill()
            loop.run_until_complete(self._ended.wait())

    def abort(self) -> None:
        """Have it print its stack and end; see `loader.Loader.abort`."""
        self._aborted = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGABRT)

    # --- what it says ----------------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        try:
            received = self.channel.receive()
            close_fds(received)  # it has none to send
            for message, _ in received:
                self._hear(message)
        except ChannelClosed:
            self._hand.loop.remove_reader(self.channel.fileno())  # how it ends says why
        except ProtocolError as error:
            self._lie = str(error)
            self._kill()

    def _hear(self, message: Message) -> None:
        match message:
            case Loading() if self.loading is None:
                self.loading = message
                if message.log_format == "json":
                    speak_json()
                self._hand.loop.call_later(max(0.0, message.boot_timeout_s), self._say_slow, message.boot_timeout_s)
            case Founding() if self.loading is not None and message.pid == self.pid:
                self._founding = message
                self._over.set()
            case LoadFailed() if self._failure is None:
                self._failure = message
            case _:
                raise ProtocolError(f"the program sent a {type(message).__name__} while it loaded the app")

    def _say_slow(self, after_s: float) -> None:
        """There is no deadline: nothing serves yet that this could hold up, and some models take minutes."""
        if not self._over.is_set():
            print(f"aeros: {self._name} is still being loaded after {show_duration(after_s)}", file=sys.stderr)  # noqa: T201

    # --- its end ---------------------------------------------------------------------------------------------

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._look()
        elif number in _STOPPING:
            self._stop()
        else:
            self._hand.keep(number)

    def _stop(self) -> None:
        """At a second request, or when it takes too long, kill it and what it has started."""
        if self._stop_asked:
            self._kill()
            return
        self._stop_asked = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        self._hand.loop.call_later(_END_S, self._kill)

    def _kill(self) -> None:
        if self._ended.is_set():
            return
        for pid in (self.pid, *descendants(self.pid)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _look(self) -> None:
        """Reap it if it has ended, and what it has left to us."""
        if self._ended.is_set() or (status := reap(self.pid)) is None:
            return
        self._status = status
        if self.channel.fileno() != -1:
            self._on_readable()  # its last words
        self._ended.set()
        self._over.set()

    def _why(self) -> StartError:
        code = os.waitstatus_to_exitcode(self._status)
        if self._failure is not None:
            known = ExitCode(code) if code in tuple(ExitCode) else ExitCode.FAILURE
            return StartError(self._failure.reason, traceback=self._failure.traceback, exit_code=known)
        if self._lie:
            return StartError(f"{self._name} cannot be served: {self._lie}", exit_code=ExitCode.APP)
        known = ExitCode(code) if code in _TELLING else ExitCode.APP
        how = describe_exit(self._status)
        return StartError(f"{self._name} ended with {how} before it could be served", exit_code=known)
