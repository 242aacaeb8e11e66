"""Everything of a start that can fail, done before there is a supervisor."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..core.exitcodes import ExitCode
from ..core.ipc.channel import Channel
from ..core.process.files import give_folder
from ..core.process.interpreter import untested, why_no_interpreter
from ..core.process.privileges import Account
from ..core.record import replace
from ..core.shared.scoreboard import Scoreboard
from ..errors import OptionsError, StartError
from ..options import secrets
from ..supervisor.bootstrap import Setup
from ..supervisor.control.pidfile import PidFile
from ..supervisor.control.systemd import Notifier
from ..supervisor.model.plan import Plan
from ..supervisor.model.policy import Policy
from ..supervisor.sockets.activation import NONE, Activated
from ..supervisor.sockets.listeners import bind_admin, bind_all, close_all, split_host_port
from ..supervisor.system.choice import system_for
from ..supervisor.system.launch import CommandLine
from ..supervisor.upgrade.inheritance import Estate, Inheritance
from ..supervisor.zygotes.load import WORKER
from ..version import __version__
from . import app_metrics
from .accounts import account_of, out_of_reach
from .own_log import make_log

if TYPE_CHECKING:
    from ..supervisor.control.dashboard import AdminChild
    from ..supervisor.loop import Supervisor
    from ..supervisor.upgrade.successor import Succession


class Preparation:
    """Sockets, files and log of a server. `supervise` makes this process its supervisor."""

    def __init__(
        self,
        plan: Plan,
        policy: Policy,
        activated: Activated = NONE,
        inheritance: Inheritance | None = None,
    ) -> None:
        """activated: sockets of systemd's. inheritance: from the supervisor that this one is to succeed.

        Raises OptionsError, StartError; nothing is left open then.
        """
        self.plan = plan
        self.policy = policy
        self.account = account_of(plan.run_as)
        self.log = make_log(plan, self.account)
        self.notifier: Notifier | None = None
        self._warn(activated)
        with contextlib.ExitStack() as undo:
            self.pid_file, self.same_pid_file = _pid_file(plan, inheritance)
            undo.callback(self.drop_pid_file)
            self.listeners = bind_all(plan, activated, inheritance)
            undo.callback(close_all, self.listeners)
            self.admin = _admin(plan, policy, self.account, inheritance) if plan.admin else None
            self.scoreboard = Scoreboard.create()
            undo.pop_all()

    def _warn(self, activated: Activated) -> None:
        for warning in self.plan.warnings:
            self.log.warning(warning)
        for path in out_of_reach(self.account):
            assert self.account is not None
            self.log.warning(
                f"{self.account.name} may not read {path}: reloads will fail, and what is imported later may"
            )
        if activated.why_not:
            self.log.info(f"no sockets are taken from systemd: {activated.why_not}")
        if sentence := untested():
            self.log.warning(sentence)

    # --- what goes at the end ------------------------------------------------------------------------------------

    def drop_pid_file(self) -> None:
        """Remove the pid file; not one that is still another supervisor's."""
        if self.pid_file is not None and self.same_pid_file:
            self.pid_file.forget()
        elif self.pid_file is not None:
            self.pid_file.remove()

    def settle(self) -> None:
        """What was inherited is ours."""
        self.same_pid_file = False
        if self.pid_file is not None:
            self.pid_file.write()

    def leave_to_child(self) -> None:
        """A child of this process becomes the supervisor: it has all of this now."""
        for listener in self.listeners:
            listener.sock.close()
        if self.admin is not None:
            self.admin.listener.sock.close()
            app_metrics.forget()
        self.scoreboard.close()
        if self.pid_file is not None:
            self.pid_file.forget()
        self.log.close()

    # --- the supervisor ------------------------------------------------------------------------------------------

    def supervise(
        self,
        command: CommandLine,
        lead: Callable[[Setup], ExitCode],
        owner: Channel | None = None,
        succession: Succession | None = None,
    ) -> ExitCode:
        """Become the supervisor until the end. lead: how its first zygote comes to be, see `supervisor.bootstrap`.

        owner, succession: see there. Raises StartError.
        """
        if self.pid_file is not None and succession is None:
            self.pid_file.write()
        try:
            return lead(self._setup(command, owner, succession))
        except StartError:
            close_all([*self.listeners, *([self.admin.listener] if self.admin is not None else [])])
            raise
        finally:
            secrets.restore()
            self.drop_pid_file()
            app_metrics.remove()

    def _setup(self, command: CommandLine, owner: Channel | None, succession: Succession | None) -> Setup:
        known = secrets.hide()
        environment = {name: value for name, value in command.environment.items() if name not in known}
        environment |= app_metrics.environment()
        return Setup(
            policy=self.policy,
            listeners=self.listeners,
            scoreboard=self.scoreboard,
            log=self.log,
            command=replace(command, account=self.account, environment=environment, secrets=known),
            announce=self.announce,
            control=self.plan.control,
            estate=Estate(self.pid_file, app_metrics.made(), app_metrics.forget),
            admin=self.admin,
            notifier=self.notifier,
            system=system_for(self.plan.faults, "supervisor"),
            owner=owner,
            succession=succession,
            in_child=self._in_child,
        )

    def _in_child(self) -> None:
        """The first zygote, where it has this process's memory, keeps neither the pid file nor the secrets."""
        if self.pid_file is not None:
            self.pid_file.forget()
        secrets.forget()

    def announce(self, supervisor: Supervisor) -> None:
        """Say once, in at most five lines, what runs where and how to steer it."""
        pid, workers = os.getpid(), supervisor.office.target.workers
        places = ", ".join(supervisor.addresses)
        plural = "s" if workers != 1 else ""
        self.log.info(f"Aeros {__version__} serves {self.plan.name} at {places}", addresses=supervisor.addresses)
        self.log.info(f"{workers} worker{plural} on {self.plan.worker_class}, supervisor pid {pid}")
        steer = f"aeros reload {pid}, or SIGHUP" if supervisor.control.path else f"kill -HUP {pid}"
        if self.admin is not None:
            self.log.info(f"dashboard: {self.admin.address}", admin=self.admin.address)
        self.log.info(f"reload: {steer}; stop: Ctrl+C or SIGTERM")


def check_load(policy: Policy, command: CommandLine) -> None:
    """Raise OptionsError if workers are to load a program themselves that cannot be run again."""
    if policy.load == WORKER and command.why_not:
        raise OptionsError(
            f"--load worker runs the program again for each worker, which cannot be done: {command.why_not}",
            option="load",
        )


def _pid_file(plan: Plan, inheritance: Inheritance | None) -> tuple[PidFile | None, bool]:
    """Return the pid file, and whether it is another supervisor's still. Raises StartError."""
    if not plan.pid_file:
        return None, False
    if inheritance is not None and os.path.abspath(plan.pid_file) == inheritance.pid_file:  # noqa: PTH100
        inherited = PidFile.inherit(plan.pid_file, inheritance.pid_file_fd)
        if inherited is not None:
            inheritance.pid_file_fd = -1
            return inherited, True
    return PidFile(plan.pid_file), False


def _admin(plan: Plan, policy: Policy, account: Account | None, inheritance: Inheritance | None) -> AdminChild:
    from ..core.ipc.dashboard import AdminSettings
    from ..supervisor.control.dashboard import AdminChild

    if reason := why_no_interpreter():
        raise OptionsError(
            f"--admin starts the dashboard in a Python interpreter of its own, but {reason}; leave it out, and look at "
            "the server with `aeros top`",
            option="admin",
        )
    listener = bind_admin(plan, inheritance)
    address = plan.admin or ""
    host = "" if address.startswith("unix:") else split_host_port(address)[0]
    directory = _share_metrics(account) if plan.app_metrics else ""
    token = plan.admin_token or ""
    about = (
        plan.name,
        host,
        token,
        plan.admin_write,
        plan.ready_min,
        directory,
        policy.proctitle,
        plan.admin_details == "on",
    )
    return AdminChild(listener, AdminSettings(*about))


def _share_metrics(account: Account | None) -> str:
    """Return the directory of the app's own metrics, which its user may write to."""
    directory = app_metrics.share()
    if directory and account is not None:
        try:
            give_folder(directory, account)
        except OSError as error:
            raise StartError(f"cannot give {directory} to {account.name}: {error.strerror}") from None
    return directory
