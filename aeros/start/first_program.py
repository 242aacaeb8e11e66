"""The child of `aeros run` that loads the app, says what it is to be served with, and becomes the first zygote.

With --run-as it gives up root before the app's first line. What root has read until then decides what root opens; see
`supervisor.plan.agreed`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from ..core.exitcodes import ExitCode
from ..core.ipc.channel import Channel, ChannelClosed
from ..core.ipc.messages import Founding, LoadFailed, Loading, Welcome, clip
from ..core.log.lines import LineLog
from ..core.log.spoken import say_rest, speak_json
from ..core.net.listener import Listener
from ..core.process.exit_handlers import run_exit_handlers
from ..core.process.origin import here
from ..core.process.privileges import Account
from ..core.process.signalling import die_with_parent
from ..core.text import one_line
from ..errors import AerosError, AppLoadError, StartError
from ..options import Options, secrets
from ..options.files import load as read_file
from ..options.resolve import gather
from ..supervisor.bootstrap import give_up_root
from ..supervisor.model.plan import Plan
from ..supervisor.model.policy import Policy
from . import app_metrics
from .accounts import account_of, out_of_reach
from .check_tls import check_tls
from .finish import finished
from .first import plan_of
from .next_generation import Welcomed, await_welcome
from .output import flush_output
from .own_log import make_log
from .served import served_app

#: The supervisor may have to ask the one before it, and look up names; that it is gone ends the wait.
_WELCOME_S = 60.0
#: For exit handlers of a program whose load has failed.
_TIDY_S = 5.0

#: This process, while the app is being loaded: a module that calls start() itself has loaded it then.
_loading: FirstProgram | None = None


def being_loaded() -> FirstProgram | None:
    """Return what start() is to finish; None where it starts a server of its own."""
    return _loading


class FirstProgram:
    """One per process."""

    def __init__(
        self, line: Channel, name: str, load: Callable[[str], Any], inherited: Sequence[int], *, shows_hangs: bool
    ) -> None:
        """line: to the supervisor-to-be, our parent. name: of the app. load: how it is had by that name.

        inherited: sockets that are only the parent's to hold. shows_hangs: print the stack at SIGABRT, as long as the
        app is being loaded.
        """
        self._line = line
        self._name = name
        self._load_app = load
        self._directory = here()
        self._account: Account | None = None
        self._shows_hangs = shows_hangs
        self._line_is = os.fstat(line.fileno()).st_ino
        # Once: the app may go elsewhere, and its user may not be allowed to read what root may.
        self._read = functools.cache(read_file)
        for fd in inherited:
            os.close(fd)

    def run(self, arguments: Sequence[str], parent: int) -> NoReturn:
        """Load the app, and be what the supervisor says then. parent: its pid."""
        global _loading  # noqa: PLW0603 - a fact of this process
        with self._telling():
            die_with_parent(signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            if self._shows_hangs:
                faulthandler.enable()
            gc.freeze()  # all there is is ours and stays: the app's collections need not look through it
            self._begin(arguments)
            _loading = self
            app = self._load()
            self.arrive(app, lambda: self._resolved(arguments, app))

    def arrive(self, app: Any, resolved: Callable[[], Options]) -> NoReturn:
        """The app is there. resolved: returns its options."""
        global _loading  # noqa: PLW0603
        _loading = None
        with self._telling():
            if self._shows_hangs:
                faulthandler.disable()
            options = finished(resolved(), app, self._name, self._directory)
            plan, policy = plan_of(app, options)
            app = served_app(app, options)
            if self._account is None:
                check_tls(options)
            self._check_line()
            founding = Founding(os.getpid(), plan.to_message(), policy.to_message())
            answer = await_welcome(self._line, founding, _WELCOME_S)
            if answer is None:
                _leave(ExitCode.FAILURE)  # the start was given up, or the supervisor is gone
            self._serve(app, options, *answer)

    def _serve(self, app: Any, options: Options, welcome: Welcome, fds: list[int]) -> NoReturn:
        welcomed = Welcomed(self._line, welcome, fds)
        _close_originals(welcomed.listeners)
        app_metrics.join(str(welcome.environment.get(app_metrics.VARIABLE, "")))
        # Where only the app's own options say whom it runs as, it was loaded as root.
        account = account_of(options.run_as) if self._account is None else None
        log = make_log(options, account)
        if account is not None:
            give_up_root(account, log)
        welcomed.serve(app, options, log, app_in_supervisor=False)

    # --- before the app ------------------------------------------------------------------------------------------

    def _begin(self, arguments: Sequence[str]) -> None:
        """Say that the load begins. With --run-as, say first what root has read, and give up root."""
        given = gather(arguments, environ=secrets.environment(), read=self._read)
        boot_timeout_s = float(str(given.value("boot_timeout")))
        log_format = str(given.value("log_format"))
        if log_format == "json":
            speak_json()
        run_as = given.value("run_as")
        if run_as is None:
            self._line.send(Loading(boot_timeout_s, log_format, {}, {}))
            return
        options = finished(given.options(), None, self._name, self._directory)
        check_tls(options)
        self._account = account_of(str(run_as))
        assert self._account is not None
        plan, policy = Plan.of(options, ""), Policy.of(options)
        self._line.send(Loading(boot_timeout_s, log_format, plan.to_message(), policy.to_message()))
        secrets.mask()
        give_up_root(self._account, LineLog())
        die_with_parent(signal.SIGKILL)  # the kernel forgets it when the user changes

    def _load(self) -> Any:
        unreadable = out_of_reach(self._account)
        try:
            return self._load_app(self._name)
        except AppLoadError as error:
            if self._account is None or not unreadable:
                raise
            reason = f"{error} ({self._account.name} may not read {', '.join(unreadable)})"
            raise AppLoadError(reason, traceback=error.traceback) from None

    def _resolved(self, arguments: Sequence[str], app: Any) -> Options:
        constructor = getattr(app, "serving_defaults", None)
        return gather(arguments, constructor=constructor, environ=secrets.environment(), read=self._read).options()

    def _check_line(self) -> None:
        """Its number may be something of the app's by now. Raises StartError."""
        fd = self._line.fileno()
        try:
            there = os.fstat(fd).st_ino == self._line_is
        except OSError:
            there = False
        if not there:
            raise StartError(
                f"{self._name} has closed its line to the supervisor, descriptor {fd}: a program must not close "
                "descriptors that it did not open"
            )

    # --- its end -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell the supervisor why this program cannot be served, and end. It is the supervisor that says so."""
        try:
            yield
        except AerosError as error:
            self._tell(str(error), getattr(error, "traceback", ""))
            _leave(error.exit_code)
        except KeyboardInterrupt:
            os._exit(128 + signal.SIGINT)  # the supervisor has got it as well
        except Exception as error:
            self._tell(f"{type(error).__name__}: {error}", traceback.format_exc())
            _leave(ExitCode.FAILURE)

    def _tell(self, reason: str, trace: str) -> None:
        try:
            self._check_line()
            self._line.send(LoadFailed(clip(reason, 2000), clip(trace)))
        except (StartError, ChannelClosed):
            print(one_line(f"aeros: {reason}"), file=sys.stderr)  # noqa: T201


def _close_originals(listeners: Sequence[Listener]) -> None:
    """Close what a bind like fd://3 has named: the fork has left us a copy of it, beside the one that we were sent."""
    for listener in listeners:
        number = listener.bind.removeprefix("fd://")
        if number != listener.bind and number.isdecimal():
            with contextlib.suppress(OSError):
                if os.path.sameopenfile(int(number), listener.sock.fileno()):
                    os.close(int(number))


def _leave(code: int) -> NoReturn:
    """End as a program that has failed does: its exit handlers tidy up what it has made."""
    say_rest()
    flush_output()
    run_exit_handlers(_TIDY_S, lambda where: os._exit(code))
    os._exit(code)
