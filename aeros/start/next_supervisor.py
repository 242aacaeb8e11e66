"""The upgrade as the new program begins it: it asks the supervisor that has run it for the inheritance."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ..core.exitcodes import ExitCode
from ..core.ipc.channel import Channel, ChannelClosed
from ..core.ipc.messages import Heir, Inherit, Message, ProtocolError, Unfit, clip
from ..errors import AerosError, StartError, StateError
from ..options import Options
from ..supervisor.bootstrap import Setup, found
from ..supervisor.control.systemd import Notifier, take_variables
from ..supervisor.model.plan import Plan
from ..supervisor.model.policy import Policy
from ..supervisor.sockets.activation import take as take_activated
from ..supervisor.system.launch import CommandLine
from ..supervisor.upgrade.inheritance import Inheritance
from ..supervisor.zygotes.load import FORK, loads_at_once
from ..version import __version__
from . import app_metrics
from .check_tls import check_tls
from .first import end_with, plan_of, program_of
from .moment import can_supervise
from .next_generation import WELCOME_TIMEOUT_S
from .output import flush_output, have_stderr
from .prepare import Preparation

_NOT_BESIDE = (
    "the new program starts its server with block=False or in a thread: such a server is a child of its program and "
    "cannot succeed another; stop the old one and start it anew"
)


def supervise_next(line: Channel, app: Any, options: Options, block: bool, program: str) -> int:
    """This process succeeds the supervisor that ran it, if all goes well. line: to that one."""
    if not block or not can_supervise():
        raise StateError(_NOT_BESIDE)
    plan, policy = plan_of(app, options)
    check_tls(options)

    def prepare(inheritance: Inheritance) -> tuple[Preparation, Callable[[Setup], ExitCode]]:
        prepared = Preparation(plan, policy, take_activated(os.environ), inheritance)
        prepared.notifier = Notifier.of(take_variables(os.environ), prepared.log, inheritance.pid)
        return prepared, partial(found, program=program_of(app, options, prepared))

    return succeed(line, plan, policy, prepare, CommandLine.of_this_process(program))


def succeed(
    line: Channel,
    plan: Plan,
    policy: Policy,
    prepare: Callable[[Inheritance], tuple[Preparation, Callable[[Setup], ExitCode]]],
    command: CommandLine,
) -> int:
    """Take over from the supervisor at the other end of `line`. prepare: see `prepare` and `bootstrap`."""
    from ..supervisor.upgrade.successor import Succession

    inheritance = _await_inheritance(line, plan, policy)
    try:
        prepared, lead = prepare(inheritance)
    finally:
        inheritance.let_go()
    assert prepared.notifier is not None
    prepared.notifier.muted = True

    def settle() -> None:
        prepared.settle()
        app_metrics.adopt(inheritance.metrics_directory or app_metrics.made())

    succession = Succession(line, inheritance, settle, same_pid_file=prepared.same_pid_file)
    return end_with(prepared.supervise(command, lead, succession=succession))


@contextlib.contextmanager
def explaining(line: Channel) -> Iterator[None]:
    """Tell the supervisor that is to be succeeded why that comes to nothing, and end."""

    def explain(reason: str, trace: str, *, logged: bool) -> None:
        facts = {"reason": clip(reason, 2000), "traceback": clip(trace), "logged": logged}
        with contextlib.suppress(ChannelClosed, OSError):
            line.setblocking(True)
            line.send(Unfit(facts))
        line.close()

    try:
        yield
    except AerosError as error:
        # The old supervisor says it, for both.
        explain(str(error), getattr(error, "traceback", ""), logged=False)
        sys.exit(int(error.exit_code))
    except Exception as error:
        explain(f"{type(error).__name__}: {error}", traceback.format_exc(), logged=True)
        raise


def _await_inheritance(line: Channel, plan: Plan, policy: Policy) -> Inheritance:
    """Ask for what the old supervisor has, and have its standard error. Raises StartError."""
    warm_up_s = policy.boot_timeout_s if plan.warmup else 0.0
    # Workers that may load the program themselves come up some at a time.
    rounds = 1 if policy.load == FORK else -(-policy.workers // loads_at_once())
    facts = {
        "aeros": __version__,
        "python": platform.python_version(),
        "prepare_s": warm_up_s + rounds * policy.boot_timeout_s,
    }
    answer: tuple[Message, list[int]] | None = None
    try:
        line.setblocking(True)
        line.send(Heir(os.getpid(), facts))
        answer = line.first(WELCOME_TIMEOUT_S)
    except ChannelClosed:
        pass
    except ProtocolError as error:
        raise StartError(f"the supervisor before this one is not understood: {error}") from None
    message, fds = answer if answer is not None else (None, [])
    if not isinstance(message, Inherit):
        sys.exit(int(ExitCode.FAILURE))  # the upgrade was given up, or the old supervisor is gone
    flush_output()
    have_stderr(fds[0])
    try:
        return Inheritance.from_message(message.facts, fds[1:])
    except ValueError as error:
        raise StartError(str(error)) from None
