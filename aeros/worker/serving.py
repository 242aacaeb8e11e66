"""The seam to Hypercorn: its serve loop is the frame (lifespan, shutdown), our listeners live inside it.

`worker_serve` awaits the shutdown trigger only after lifespan start-up, and drains when it returns. So being
awaited is the proof of readiness, and our servers start and drain inside the trigger.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import socket
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Config, Sockets
from hypercorn.utils import LifespanFailureError, LifespanTimeoutError, wrap_app

from ..core.clock import monotonic, show_duration
from ..core.ipc.channel import Channel, ChannelClosed
from ..core.ipc.messages import (
    Accepting,
    Certificates,
    Draining,
    Failed,
    Go,
    Goodbye,
    LastCall,
    Message,
    Misbehave,
    Profile,
    Ready,
    ReloadOutcome,
    ReopenLogs,
    Retire,
    Seat,
    WantsRetirement,
    clip,
)
from ..core.log.lines import LineLog
from ..core.net.certificates import load
from ..core.net.handshakes import begin_no_more
from ..core.net.shared_ports import with_advice
from .accept.acceptor import Acceptor
from .accept.fairness import Turn
from .accept.tls_handshake import Failures
from .lane.service import Service
from .lifespan import Lifespan
from .outdated import Outdated
from .report.cut_requests import tell_cut
from .report.figures import Figures
from .report.heartbeat import Heartbeat
from .report.task_stacks import all_await_stacks
from .sending import send

if TYPE_CHECKING:
    import ssl

    from ..core.net.listener import Listener
    from .accept.proxy_protocol import ProxyHeaders
    from .hosted import HostedApp
    from .http3.endpoint import Endpoints

#: A handshake under way has ended by then, also on a busy machine. Who begins one meanwhile is refused after a second.
_HANDSHAKE_S = 0.01
#: When the drain time is over, what is still open is cancelled and gets this long to take note.
_CANCEL_GRACE_S = 0.5


class Serving:
    """One worker's service from its first to its last moment. `run` returns the exit code."""

    def __init__(
        self,
        hosted: HostedApp,
        config: Config,
        listeners: list[Listener],
        channel: Channel,
        service: Service,
        make_protocol: Callable[[], asyncio.Protocol],
        turn: Turn,
        figures: Figures,
        heartbeat: Heartbeat,
        log: LineLog,
        *,
        identity: tuple[int, int, str],
        on_shutdown: Callable[[], None],
        reopen_logs: Callable[[list[str]], None],
        born_at: float,
        lifespan: Lifespan,
        proxy_headers: ProxyHeaders | None = None,
    ) -> None:
        """identity: pid, generation and nonce. on_shutdown: called when the app's shutdown begins."""
        self._hosted = hosted
        self._config = config
        self._listeners = listeners
        self._channel = channel
        self._service = service
        self._make_protocol = make_protocol
        self._turn = turn
        self._figures = figures
        self._cut = 0
        self._heartbeat = heartbeat
        self._log = log
        self._pid, self._generation, self._nonce = identity
        self._on_shutdown = on_shutdown
        self._reopen_logs = reopen_logs
        self._born_at = born_at
        self._lifespan = lifespan
        self._proxy_headers = proxy_headers
        self._go = asyncio.Event()
        self._end = asyncio.Event()
        self._retire: Retire | None = None
        self._up = False
        self._stacks = ""
        self._hook_failure: Exception | None = None
        self._frame: asyncio.Task[None]
        self._loop = asyncio.get_running_loop()
        self._asked_to_retire = False
        self._acceptor: Acceptor | None = None
        self._quic: Endpoints | None = None
        self._context: ssl.SSLContext | None = None
        self._certified = asyncio.Event()
        self.outdated = Outdated(self._loop, service.connections)

    async def run(self) -> int:
        """Serve until told to end. Returns the exit code; what went wrong has been reported by then."""
        self._loop.add_reader(self._channel.fileno(), self._on_message)
        self._heartbeat.start()
        wrapped = wrap_app(self._hosted.app, self._config.wsgi_max_body_size, "asgi")
        if any(item.kind == "quic" for item in self._listeners):
            from .http3.endpoint import Endpoints
            from .http3.failures import Failures as QuicFailures

            self._quic = Endpoints(self._service, QuicFailures(self._figures.http3_failed, self._log))
        frame = worker_serve(
            self._with_state(wrapped),
            self._frame_config(),
            sockets=Sockets([], [], []),
            shutdown_trigger=self._serve,
        )
        self._frame = self._loop.create_task(frame)
        try:
            await self._frame
        except LifespanTimeoutError:
            self._stacks = all_await_stacks()
            return self._out_of_time()
        except LifespanFailureError as error:
            return self._fail("startup" if not self._up else "shutdown", error)
        except asyncio.CancelledError:
            self._log.debug("told to end before it was up")
        except Exception as error:
            return self._fail("serving" if self._up else "startup", error)
        finally:
            self._loop.remove_reader(self._channel.fileno())
            self._heartbeat.stop()
        if self._hook_failure is not None:
            return self._fail("startup", self._hook_failure)
        self._send(Goodbye(self._retire.reason if self._retire else "", self._cut))
        return 0

    @property
    def state(self) -> str:
        """Where it is in its life: starting, ready or draining."""
        if not self._up:
            return "starting"
        return "draining" if self._end.is_set() else "ready"

    def request_retirement(self, reason: str) -> None:
        """Ask the supervisor for a replacement; serve on until it tells us to end."""
        if not self._asked_to_retire:
            self._asked_to_retire = True
            self._send(WantsRetirement(reason))

    # --- inside Hypercorn's frame ---

    async def _serve(self) -> None:
        """The shutdown trigger: awaited when the app is up; returning from it begins Hypercorn's shutdown."""
        try:
            await self._be_up()
        finally:
            self._on_shutdown()

    async def _be_up(self) -> None:
        if self._config.ssl_enabled:
            await self._certified.wait()
        try:
            await self._hosted.on_ready()
        except Exception as error:  # out of Hypercorn's frame it would come as a group of exceptions
            self._hook_failure = error
            return
        self._up = True
        self._send(Ready(self._pid, self._generation, self._nonce, round(monotonic() - self._born_at, 6)))
        await self._either(self._go, self._end)
        if self._end.is_set():
            return
        acceptor = self._acceptor = self._make_acceptor()
        acceptor.start()
        self.outdated.accepts(acceptor)
        if self._quic is not None:
            self._quic.start()
        self._send(Accepting())
        await self._end.wait()
        await self._drain(acceptor)

    def _make_acceptor(self) -> Acceptor:
        limit, figures = self._service.limits.connections, self._figures
        return Acceptor(
            self._loop,
            [(item.sock, item.kind == "secure") for item in self._listeners if item.kind != "quic"],
            self._make_protocol,
            self._turn,
            self._pending,
            handshake_timeout_s=self._config.ssl_handshake_timeout,
            on_pause=self._log.warning,
            context=self._context,
            make_room=self._service.connections.close_longest_idle,
            failures=Failures(figures.handshake_failed, self._log.info),
            proxy_headers=self._proxy_headers,
            has_room=None if limit is None else lambda: figures.connections < limit,
        )

    def _pending(self, change: int) -> None:
        self._figures.connection_pending(change)
        if change > 0 and self._service.overload is not None:
            self._service.overload.accepted()

    def _certify(self, fd: int) -> None:
        """Serve connections from now on with the certificates in the file of `fd`; open ones keep theirs."""
        from .accept.tls import make_context

        try:
            record = load(fd)
            context = make_context(self._config, record)
        except Exception:
            if self._certified.is_set():
                self._log.error("the new certificates cannot be used", traceback=traceback.format_exc())
                return
            raise
        finally:
            os.close(fd)
        self._context = context
        self._certified.set()
        if self._quic is not None:
            self._quic.certify(record)
        if self._acceptor is not None:
            self._acceptor.context = context

    async def _drain(self, acceptor: Acceptor) -> None:
        retire = self._retire
        reason = retire.reason if retire else "orphaned"
        bound_s = retire.drain_timeout_s if retire else self._config.graceful_timeout / 2
        stopping = reason in ("stop", "orphaned")
        last_call = self._service.connections.farewell
        if stopping and last_call:
            await self._end_handshakes()
        acceptor.stop()
        if stopping:
            # These clients have been told by the kernel that they are connected; nobody else will serve them.
            acceptor.take_backlog()
            for item in self._listeners:
                # Zygotes have copies still, and who connects until the last is closed would be told that it worked, and
                # then be reset. Only after a last call: it says that nobody else is to have the listener after us.
                if last_call and _is_ours(item):
                    with contextlib.suppress(OSError):  # another worker has done so
                        item.sock.shutdown(socket.SHUT_RD)
                item.sock.close()
        self._send(Draining())
        self._service.connections.begin_drain("stop" if stopping else "reload")
        deadline = self._loop.time() + bound_s
        try:
            async with asyncio.timeout_at(deadline):
                await acceptor.settled()
                await self._service.connections.drained()
        except TimeoutError:
            tell_cut(self._service.connections.served(), self._log)
            self._cut = self._service.connections.abort()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CANCEL_GRACE_S):
                    await self._service.connections.drained()
        if self._quic is not None:
            self._quic.close()

    async def _end_handshakes(self) -> None:
        """Have nobody told that he is connected once the last connection is accepted."""
        ended = [begin_no_more(item.sock) for item in self._listeners if _is_ours(item)]
        if any(ended):
            await asyncio.sleep(_HANDSHAKE_S)

    def _with_state(self, wrapped: Any) -> Any:
        """Have the lifespan fill the state dict of the connections, not one that Hypercorn keeps to itself."""

        async def app(scope: Any, receive: Any, send: Any, sync_spawn: Any, call_soon: Any) -> None:
            # Hypercorn calls it for nothing but the lifespan.
            scope["state"] = self._service.state
            await self._lifespan.run(lambda send: wrapped(scope, receive, send, sync_spawn, call_soon), receive, send)

        return app

    def _frame_config(self) -> Config:
        """Return the config for Hypercorn's frame, without the context it would make for sockets it has not got: it
        would read the key, which may be root's alone."""
        config = copy.copy(self._config)
        config.create_ssl_context = lambda: None  # type: ignore[method-assign]
        return config

    async def _either(self, *events: asyncio.Event) -> None:
        tasks = [self._loop.create_task(event.wait()) for event in events]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    # --- the channel ---

    def _on_message(self) -> None:
        try:
            for message, fds in self._channel.receive():
                self._obey(message, fds)
        except ChannelClosed:
            # The supervisor is gone, and with it whoever would restart us: finish what we have, and end.
            self._loop.remove_reader(self._channel.fileno())
            self._finish()

    def _finish(self) -> None:
        self._end.set()
        if not self._up:
            # Nothing is served yet, so there is nothing to drain: stop the start-up where it is.
            self._frame.cancel()

    def _obey(self, message: Message, fds: list[int]) -> None:
        match message:
            case Certificates():
                self._certify(fds[0])
            case Seat():
                sockets = [socket.socket(fileno=fd) for fd in fds]
                if self._quic is not None:
                    self._quic.sit(message.number, sockets)
            case Go():
                self._go.set()
            case LastCall():
                self._service.connections.farewell = True
            case Retire():
                self._retire = self._retire or message
                self._finish()
            case ReopenLogs():
                with contextlib.suppress(OSError):
                    self._log.reopen(message.kept)
                self._reopen_logs(message.kept)
            case ReloadOutcome():
                self._after_reload(message)
            case Misbehave():
                from .debugging.misbehaviour import misbehave

                misbehave(message.how, message.seconds)
            case Profile():
                from .report.profiler import profile

                profile(self._loop, self._service.connections.served, self._send, message.seconds)
            case _:
                self._log.error(f"the supervisor sent a worker a {type(message).__name__}")

    def _after_reload(self, outcome: ReloadOutcome) -> None:
        """Only where workers load the app themselves: there is no zygote that could run the hook."""
        self.outdated.over()
        try:
            self._hosted.on_reload(outcome)
        except Exception:
            self._log.error("the app's on_reload hook failed", traceback=traceback.format_exc())

    def _send(self, message: Message) -> None:
        send(self._loop, self._channel, message)

    def _out_of_time(self) -> int:
        stage, option, bound_s = "startup", "--boot-timeout", self._config.startup_timeout
        if self._up:
            stage, option, bound_s = "shutdown", "--shutdown-timeout", self._config.shutdown_timeout
        reason = f"the app's {stage} was not done within {show_duration(bound_s)} ({option})"
        # Which await it hangs in; the thread's own stack would only show the event loop.
        self._send(Failed(stage, reason, clip(self._stacks), False))
        return 3 if stage == "startup" else 1

    def _fail(self, stage: str, error: BaseException) -> int:
        reason, text, logged = f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)), False
        if stage == "startup":
            if self._lifespan.failure is not None:
                reason, text = self._lifespan.failure
            reason, text, logged = self._hosted.startup_failure() or (reason, text, logged)
        self._send(Failed(stage, with_advice(clip(reason, 2000)), clip(text), logged))
        return 3 if stage == "startup" else 1


def _is_ours(listener: Listener) -> bool:
    """Whether it is a TCP or Unix listener that nobody has after us: those of an activation are systemd's."""
    return listener.kind != "quic" and not listener.bind.startswith("fd://")
