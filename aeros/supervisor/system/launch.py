"""Running the program again: a fresh interpreter, the same command line, the code as it now is on disk."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.ipc.descriptors import put_away
from ...core.process.attributes import blocked_at_start, changed_by_program, not_ignored_at_start
from ...core.process.interpreter import is_frozen, is_one_file, why_no_interpreter
from ...core.process.origin import directory_of_start, environment_of_start
from ...core.process.privileges import Account
from ...core.process.streams import is_ours
from ...core.record import field, record, replace
from .summons import CHANNEL_VARIABLE, LINE_FD, UPGRADE_VARIABLE, spell

# Run before the program in the new process: die with the supervisor (a program that hangs at import must not
# outlive it), be the user it is to run as, stand where the first one stood (the path, so that a switched symlink is
# followed), say for which process the summons is (exec keeps the pid), then become it.
_SHIM = """
import ctypes, os, sys
parent, directory, account, attributes = int(sys.argv[1]), *sys.argv[2:5]
if attributes != "{}":
    import json, resource
    how = {
        "nice": lambda nice: os.setpriority(os.PRIO_PROCESS, 0, nice),
        "umask": os.umask,
        "limits": lambda limits: [resource.setrlimit(number, pair) for number, *pair in limits],
        "cpus": lambda cpus: os.sched_setaffinity(0, cpus),
    }
    for name, value in json.loads(attributes).items():
        try:
            how[name](value)
        except (OSError, ValueError) as error:
            print(f"aeros: {name} cannot be as at the start, which the program has changed: {error}", file=sys.stderr)
if account:
    uid, gid, *groups = map(int, account.split())
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
# After that: the kernel forgets whom to die with when the user changes.
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != parent:
    os._exit(1)
try:
    os.chdir(directory)
except OSError as error:
    print(f"cannot change to {directory}: {error.strerror}", file=sys.stderr)
    os._exit(1)
for name in "AEROS_INTERNAL_CHANNEL", "AEROS_INTERNAL_UPGRADE":
    if name in os.environ:
        os.environ[name] = str(os.getpid()) + os.environ[name]
os.execv(sys.argv[5], sys.argv[5:])
"""


@record
class CommandLine:
    """How the program was started. arguments: argv with the interpreter first. why_not: "" if it can be run
    again, else the reason it cannot.

    own: so many of the arguments, the last ones, are the program's own. kept: those of them that say what is served,
    and stay in front of others that take their place. why_no_others: why others cannot, "" if they can.
    """

    executable: str
    arguments: tuple[str, ...]
    directory: str
    why_not: str = ""
    own: int = 0
    kept: tuple[str, ...] = ()
    why_no_others: str = ""
    #: Whom it runs as when it is run again; None: as the supervisor.
    account: Account | None = None
    #: That of its start: what the program has set since, also from a `.env`, it sets again, from what is there then.
    environment: Mapping[str, str] = field(default_factory=dict)
    #: What the program has changed of its other attributes, as it was: see `core.attributes`.
    attributes: Mapping[str, object] = field(default_factory=dict)
    #: Variables that are secret, which no process's environment holds but that of an heir while it loads.
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of_this_process(cls, app: str = "", kept: Sequence[str] | None = None) -> CommandLine:
        """Return the command line that started this process. app: what `aeros run` was told to serve, if it was; kept:
        by these words."""
        frozen = is_frozen()
        argv = getattr(sys, "argv", None) or [""]  # an embedding program may have set none
        arguments = tuple(argv) if frozen else (sys.executable or "", *sys.orig_argv[1:])
        why_not = ""
        if not frozen and argv[0] in ("", "-"):
            why_not = "the program was read from standard input"
        elif not frozen:
            why_not = why_no_interpreter()
        elif is_one_file():
            why_not = "the program is a single frozen file; freeze it as a folder to have it run again"
        own = max(0, len(argv) - 1)
        no_others = ""
        if tuple(argv[1:]) != arguments[len(arguments) - own :]:
            no_others = "the program has changed its sys.argv, so nobody knows which arguments are its own"
        elif app and (argv[1:2] != ["run"] or kept is None):
            no_others = "the server was not started by the command line"
        directory, environment = directory_of_start(), environment_of_start()
        return cls(
            sys.executable or "",
            arguments,
            directory,
            why_not,
            own,
            ("run", *(kept or (app,))) if app else (),
            no_others,
            environment=environment,
            attributes=changed_by_program(),
        )

    @property
    def waits(self) -> bool:
        """Whether the program, run ahead of time, waits before it imports the app: `aeros dev` does."""
        return self.own > 0 and self.arguments[len(self.arguments) - self.own] == "dev"

    def with_others(self, others: Sequence[str]) -> CommandLine:
        """Return the same command line with other arguments for the program; what `aeros run` serves stays."""
        own = len(self.kept) + len(others)
        before = self.arguments[: len(self.arguments) - self.own]
        return replace(self, arguments=(*before, *self.kept, *others), own=own)


def launch(
    command: CommandLine,
    channel_fd: int,
    stderr_fd: int,
    variable: str = CHANNEL_VARIABLE,
    environ: Mapping[str, str] | None = None,
) -> int:
    """Start the program again with its end of a channel and its standard error; return the pid.

    variable: CHANNEL_VARIABLE or UPGRADE_VARIABLE. environ: variables beside those of the start. Not a fork of ours:
    posix_spawn runs nothing of this process in the child. Raises OSError.
    """
    account, frozen = command.account, is_frozen()
    if frozen and account is not None:
        raise OSError("a frozen program has no interpreter that could give up root before it; restart to change it")
    environment = {**command.environment, **(account.environment if account is not None else {}), **(environ or {})}
    if variable == UPGRADE_VARIABLE:
        environment |= command.secrets  # it keeps them next; and one of an older Aeros looks nowhere else
    # A program that hangs can be asked where: SIGABRT prints its stack. Taken back by start().
    faulthandler = "PYTHONFAULTHANDLER" not in environment
    if faulthandler:
        environment["PYTHONFAULTHANDLER"] = "1"
    environment[variable] = spell(faulthandler=faulthandler)
    shim = _shim(command, command.directory, command.arguments)
    # Nothing but the line and the standard streams goes along: whatever else is open here closes on exec.
    spare = os.dup(channel_fd) if channel_fd == LINE_FD else channel_fd
    try:
        return os.posix_spawn(
            shim[0],
            shim if not frozen else command.arguments,
            environment,
            file_actions=[
                *_standard_streams(0, 1),
                (os.POSIX_SPAWN_DUP2, stderr_fd, 2),
                (os.POSIX_SPAWN_DUP2, spare, LINE_FD),
            ],
            setsigmask=blocked_at_start(),
            setsigdef=not_ignored_at_start(),
            setpgroup=0,
        )
    finally:
        if spare != channel_fd:
            os.close(spare)


def _standard_streams(*fds: int) -> list[tuple[Any, ...]]:
    """Return what gives the new process /dev/null for those of its standard streams that are something else here."""
    return [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in fds if not is_ours(fd)]


def _shim(command: CommandLine, directory: str, arguments: Sequence[str]) -> tuple[str, ...]:
    """Return what runs `arguments` in `directory`, as the account and with the attributes that `command` has."""
    account = command.account
    ids = " ".join(map(str, (account.uid, account.gid, *account.groups))) if account is not None else ""
    told = (str(os.getpid()), directory, ids, json.dumps(dict(command.attributes)))
    return (sys.executable, "-I", "-S", "-c", _SHIM, *told, *arguments)


def launch_module(module: str, descriptors: Mapping[int, int], command: CommandLine) -> int:
    """Start `python -m module`, one of ours, in a fresh interpreter that dies with this process; return the pid.

    descriptors: number there -> number here; nothing else but the standard streams goes along. command: that of the
    program, whose environment and account it gets. Raises OSError.
    """
    # Ours and no namesake: not from the working directory (-P), first from where this Aeros is.
    home = str(Path(__file__).resolve().parents[3])
    account = command.account
    environment = {name: value for name, value in command.environment.items() if not name.startswith("AEROS_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (home, environment.get("PYTHONPATH"))))
    arguments = (sys.executable, "-P", "-m", module)
    if account is not None:
        environment |= account.environment
    shim = _shim(command, "/", arguments)
    copies: list[int] = []
    try:
        # Out of the way, so that no descriptor is overwritten before it was duplicated.
        for here in descriptors.values():
            copies.append(put_away(here))
        actions: list[tuple[Any, ...]] = [*_standard_streams(0, 1, 2)]
        actions += [(os.POSIX_SPAWN_DUP2, copy, there) for copy, there in zip(copies, descriptors, strict=True)]
        return os.posix_spawn(
            shim[0],
            shim,
            environment,
            file_actions=actions,
            setsigmask=blocked_at_start(),
            setsigdef=not_ignored_at_start(),
            setpgroup=0,
        )
    finally:
        for copy in copies:
            os.close(copy)
