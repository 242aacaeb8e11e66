"""A program that has loaded its app starts a server: in its own process, or in a child beside it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from ..core.exitcodes import ExitCode
from ..core.ipc.channel import Channel, channel_pair
from ..core.log.lines import LineLog
from ..core.log.spoken import speak_json
from ..core.process.signalling import fork, reset_signals
from ..core.record import replace
from ..errors import AerosError, StartError
from ..options import Options
from ..options.mistakes import mistaken
from ..server import Server
from ..supervisor.bootstrap import found
from ..supervisor.control.systemd import Notifier, take_variables
from ..supervisor.model.plan import Plan
from ..supervisor.model.policy import Policy
from ..supervisor.sockets.activation import take as take_activated
from ..supervisor.system.launch import CommandLine
from ..supervisor.zygotes.load import choose, unsafe_threads, warn_of_threads
from .check_tls import check_tls
from .finish import app_name
from .output import flush_output
from .prepare import Preparation, check_load
from .program import AppProgram


def plan_of(app: Any, options: Options) -> tuple[Plan, Policy]:
    """Return what the supervisor has to know of `options`. Raises OptionsError."""
    return Plan.of(options, app_name(app), mistaken(options)), Policy.of(options)


def program_of(app: Any, options: Options, prepared: Preparation) -> AppProgram:
    """Return the app as its family runs it. The dashboard's token is no business of a zygote's."""
    options = replace(options, admin_token=None)
    return AppProgram(app, options, prepared.listeners, prepared.scoreboard, prepared.log)


def supervise_here(app: Any, options: Options, program: str) -> int:
    """This process becomes the supervisor; the way a program on a command line is served."""
    if options.log_format == "json":
        speak_json()
    command = CommandLine.of_this_process(program)
    plan, policy = plan_of(app, options)
    check_load(policy, command)
    check_tls(options)
    prepared = Preparation(plan, policy, take_activated(os.environ))
    # Only here is this process the service itself, and not a part of it that started a server of its own.
    prepared.notifier = Notifier.of(take_variables(os.environ), prepared.log)
    return end_with(prepared.supervise(command, partial(found, program=program_of(app, options, prepared))))


def end_with(code: ExitCode) -> int:
    """Return from a blocking start, or end the program where the server has failed."""
    if code is not ExitCode.OK:
        sys.exit(int(code))
    return 0


def supervise_beside(app: Any, options: Options) -> Server:
    """A child becomes the supervisor; the way a test, a notebook or a bigger program is served."""
    command = CommandLine.of_this_process()
    if not command.why_not:
        command = replace(command, why_not="the server was started with block=False, so its program is not run again")
    plan, policy = plan_of(app, options)
    check_load(policy, command)
    check_tls(options)
    prepared = Preparation(plan, policy, take_activated(os.environ))
    # Here, where the threads are: the child that becomes the supervisor has none of them.
    load = choose(options.load, command.why_not)
    for warning in [*load.warnings, *warn_of_threads(unsafe_threads(), load.how, in_supervisor=True)]:
        prepared.log.warning(warning)
    lead = partial(found, program=program_of(app, options, prepared), load=replace(load, warnings=[]))
    ours, theirs = channel_pair("the supervisor")
    flush_output()
    pid = fork()
    if pid == 0:
        ours.close()
        _be_the_child(lambda owner: prepared.supervise(command, lead, owner), theirs, prepared.log)
    theirs.close()
    prepared.leave_to_child()
    return _wait_until_ready(ours, pid)


def _be_the_child(supervise: Callable[[Channel], ExitCode], line: socket.socket, log: LineLog) -> NoReturn:
    """Be the supervisor until the end. line: to the program that has started it."""
    code = int(ExitCode.FAILURE)
    try:
        if log.log_format == "json":
            speak_json()
        # Ctrl+C is for the program that started us; it decides what becomes of the server.
        os.setsid()
        reset_signals()
        asyncio._set_running_loop(None)
        line.setblocking(False)
        code = int(supervise(Channel(line, "the program")))
    except BaseException:
        log.critical("the supervisor failed", traceback=traceback.format_exc())
    finally:
        os._exit(code)


def _wait_until_ready(channel: Channel, pid: int) -> Server:
    server = Server(channel, child_pid=pid)
    try:
        server.wait_ready()
    except AerosError as error:
        code = server.wait()
        server.close()
        if isinstance(error, StartError):
            raise
        raise StartError(f"the server did not start (exit code {code})", exit_code=_as_exit_code(code)) from None
    except BaseException:
        server.stop(now=True)
        server.close()
        raise
    return server


def _as_exit_code(code: int) -> ExitCode:
    with contextlib.suppress(ValueError):
        return ExitCode(code)
    return ExitCode.FAILURE


def watch(server: Server) -> int:
    """Block in a thread: the supervisor is a child, and we wait for it."""
    try:
        code = server.wait()
    except KeyboardInterrupt:
        code = server.stop()
    finally:
        server.close()
    if code:
        sys.exit(code)
    return 0
