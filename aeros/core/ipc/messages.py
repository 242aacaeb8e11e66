"""What crosses between the processes of one server: frozen records and their one encoding.

A message is a record of JSON-able fields. On the wire it is a JSON object whose key "kind" is the
class name. Unknown kinds and wrong fields raise `ProtocolError`, so that two versions that do not understand
each other say so instead of guessing. File descriptors travel beside a message (see `channel`); a class says
how many in `fds`, or -1 where the message's own `fd_count` field does.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from ..record import field, field_names, field_types, record

#: A message longer than this is refused by both ends. Tracebacks are cut to fit (see `clip`).
MAX_MESSAGE_BYTES = 1 << 20
#: The most of a traceback or log tail that a message carries.
MAX_TEXT_CHARS = 64 * 1024
#: Of a reason that somebody gives; it is one line of the log, and a part of the summary.
MAX_REASON_CHARS = 2000

_KINDS: dict[str, type[Message]] = {}


class ProtocolError(Exception):
    """The other end sent something that is not a message of ours; the text names the sender and the reason."""


@record
class Message:
    """Base of every record that crosses between processes."""

    #: How many file descriptors accompany the message; -1: as many as its `fd_count` says.
    fds: ClassVar[int] = 0
    #: Whether the message still means something to a receiver that is out of descriptors, and gets it without them.
    fds_may_be_lost: ClassVar[bool] = False
    #: How many an older sender may send instead of `fds`; None: none but that many.
    fewest_fds: ClassVar[int | None] = None

    def __init_subclass__(cls) -> None:
        _KINDS[cls.__name__] = cls


# --- supervisor to zygote -------------------------------------------------------------------------------------


@record
class Welcome(Message):
    """To a freshly run program that reached start(): what it is to be. fds: board, cells, stderr, listeners…

    load: "worker": a worker, whose order follows; "": the first process of a generation, which finds out how its
    workers are to get the app. environment: variables that it is to have beside its own.
    """

    fds: ClassVar[int] = -1
    generation: int
    supervisor_pid: int
    fd_count: int
    listeners: list[dict[str, Any]]
    load: str = ""
    environment: dict[str, Any] = field(default_factory=dict)


@record
class Secrets(Message):
    """To a freshly run program, before anything else: the variables it is not given in its environment."""

    values: dict[str, Any]


@record
class Fork(Message):
    """Fork one worker into `slot`; or become it, where workers load the app themselves. fds: the worker's end of its
    channel, its file (core.worker_file). at: when it was ordered, in monotonic seconds."""

    fds: ClassVar[int] = 2
    fds_may_be_lost: ClassVar[bool] = True
    worker: int
    slot: int
    generation: int
    cell: int
    nonce: str
    at: float = 0.0


@record
class ForkZygote(Message):
    """Fork a copy of this zygote, to stand by or to begin `generation` with the same code. fds: its channel."""

    fds: ClassVar[int] = 1
    fds_may_be_lost: ClassVar[bool] = True
    generation: int


@record
class ReloadOutcome(Message):
    """For the `on_reload` hooks, which run in the zygote whose generation serves from now on."""

    ok: bool
    generation: int
    reason: str
    traceback: str
    seconds: float


@record
class RetireZygote(Message):
    """End when the last child has been reaped."""


# --- zygote to supervisor -------------------------------------------------------------------------------------


@record
class Arrived(Message):
    """A freshly run program has reached start() and asks what it is to be."""

    pid: int
    aeros_version: str


@record
class Loading(Message):
    """The first program of `aeros run` is about to load the app. plan, policy: of one that gives up root, what root has
    read; {} of one that stays who it is. See `supervisor.model`. log_format: of what is said until there is a plan."""

    boot_timeout_s: float
    log_format: str
    plan: dict[str, Any]
    policy: dict[str, Any]


@record
class Founding(Message):
    """The first program of `aeros run` has the app. plan, policy: what the server is to be, the app's own options
    included; answered by `Welcome`."""

    pid: int
    plan: dict[str, Any]
    policy: dict[str, Any]


@record
class Loaded(Message):
    """The process has the app, and can fork or be a worker. policy: see `supervisor.policy`. notes: warnings for the
    log.

    load: "fork" or "worker": how the workers of its generation are to get the app. threads: the libraries whose threads
    are alive, which a fork would leave behind.
    """

    pid: int
    generation: int
    policy: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    load: str = "fork"
    threads: list[str] = field(default_factory=list)


@record
class LoadFailed(Message):
    """The program ran but cannot be served: its start() refused (options, not an ASGI app, …)."""

    reason: str
    traceback: str


@record
class Forked(Message):
    """A worker exists. fd_count 1: a pidfd opened by its parent comes along; 0 where the system has none."""

    fds: ClassVar[int] = -1
    fds_may_be_lost: ClassVar[bool] = True
    worker: int
    pid: int
    fd_count: int


@record
class ForkFailed(Message):
    """fork() or a `before_fork` hook failed; errno 0 for a hook, whose traceback then says why."""

    worker: int
    errno: int
    reason: str
    traceback: str


@record
class ZygoteForked(Message):
    """A copy of this zygote exists; it speaks for itself on the channel that was sent along."""

    pid: int


@record
class ZygoteForkFailed(Message):
    """There is no copy of this zygote for `generation`: the system refused."""

    generation: int
    reason: str


@record
class Exited(Message):
    """A child was reaped. status: as os.waitpid gives it."""

    pid: int
    status: int


@record
class FilesChanged(Message):
    """`--reload`: source files of the running program changed on disk."""

    paths: list[str]


# --- supervisor to worker -------------------------------------------------------------------------------------


@record
class Go(Message):
    """Accept connections from now on."""


@record
class LastCall(Message):
    """The server is about to stop: accept and answer as before, but end each connection with its next response."""


@record
class Certificates(Message):
    """Serve new connections with these. fds: a file with the record of `core.certificates`."""

    fds: ClassVar[int] = 1


@record
class Seat(Message):
    """For a worker of a server with HTTP/3: its number (core.net.steering). fds: its UDP socket at each address."""

    fds: ClassVar[int] = -1
    number: int
    fd_count: int


@record
class Retire(Message):
    """Drain and end. reason: "reload", "recycle", "scale", "upgrade" or "stop"; drain_timeout_s bounds the drain,
    total_timeout_s is when the supervisor kills, both counted from now."""

    reason: str
    drain_timeout_s: float
    total_timeout_s: float


#: What `aeros debug` makes a worker do.
MISBEHAVIOURS = ("delay", "block", "deadlock", "leak", "exit", "segv")


@record
class Misbehave(Message):
    """Fail on purpose; see `worker.misbehaviour`. Sent only with --debug-faults."""

    how: str
    seconds: float


@record
class Profile(Message):
    """Say where the time goes, for so many seconds; answered by `Profiled`."""

    seconds: float


@record
class ReopenLogs(Message):
    """Reopen log files by name (after a rotation). Also sent to zygotes. kept: absolute paths of those that cannot be
    opened, which the supervisor has said: the old files are kept."""

    kept: list[str]


# --- worker or zygote to supervisor ---------------------------------------------------------------------------


@record
class Logged(Message):
    """An event that was written to the log: for `aeros logs`."""

    text: str


# --- worker to supervisor -------------------------------------------------------------------------------------


@record
class Profiled(Message):
    """reason: why there is no profile, "" if there is one. stacks: kind, frames (numbers into `frames`), seconds."""

    reason: str
    seconds: float
    samples: int
    left_out_s: float
    frames: list[str]
    stacks: list[dict[str, Any]]


@record
class Routes(Message):
    """What a worker has done for each route since it told last, and the exceptions it met; see `state.route_book`."""

    routes: list[dict[str, Any]]
    errors: list[dict[str, Any]]


@record
class Ready(Message):
    """Lifespan start-up is done; the worker can accept. nonce: the one it was forked with."""

    pid: int
    generation: int
    nonce: str
    boot_s: float


@record
class Accepting(Message):
    """The answer to `Go`: the listeners are being read."""


@record
class Draining(Message):
    """The listeners are no longer read: no new connection will meet this worker."""


@record
class Failed(Message):
    """The worker cannot be brought up or broke down; it exits after this. logged: the app has logged it already."""

    stage: str
    reason: str
    traceback: str
    logged: bool


@record
class WantsRetirement(Message):
    """The worker asks to be replaced: max_requests reached, or SIGTERM sent to it directly."""

    reason: str


@record
class Goodbye(Message):
    """The worker is about to exit after a drain. cut: connections closed before they were done."""

    reason: str
    cut: int


# --- upgrade: the running supervisor and the one that is to succeed it ------------------------------------------
#
# Two versions of Aeros speak to each other with these. So their fields stay as they are for good; what is new goes into
# `facts`, whose unknown keys are ignored and whose missing ones have defaults.


@record
class Heir(Message):
    """A program run again for an upgrade has reached start() and asks what it inherits. facts: aeros, python,
    prepare_s (how long its fleet may take)."""

    pid: int
    facts: dict[str, Any]


@record
class Inherit(Message):
    """The answer. fds: standard error, then as facts say: listeners, the dashboard's listener, the pid file."""

    fds: ClassVar[int] = -1
    fd_count: int
    facts: dict[str, Any]


@record
class Prepared(Message):
    """Every worker of the new supervisor is ready, and waits for leave to accept."""

    facts: dict[str, Any]


@record
class Unfit(Message):
    """The new supervisor cannot be one, and ends. facts: reason, traceback, logged (whether it has logged that)."""

    facts: dict[str, Any]


@record
class TakeOver(Message):
    """The new supervisor's workers are to accept. From here on it may outlive the old one."""

    facts: dict[str, Any]


@record
class TookOver(Message):
    """They do. facts: kept (indexes of the inherited listeners that are in use), bound (how many others are), pid_file
    (whether it is)."""

    facts: dict[str, Any]


@record
class Settled(Message):
    """The new supervisor is the server. facts: legacy (what was counted so far), record, reload."""

    facts: dict[str, Any]


@record
class Legacy(Message):
    """What the old supervisor's workers have counted while they drain. facts: see `supervisor.ledger`."""

    facts: dict[str, Any]


@record
class Abandon(Message):
    """The upgrade is off: end. facts: why, where the new supervisor does not know."""

    facts: dict[str, Any]


# --- control: any client to supervisor and back ---------------------------------------------------------------


@record
class Hello(Message):
    """First message of a client; answered by `Greeting`."""

    aeros_version: str


@record
class Greeting(Message):
    """Who answers. fds: the board and the cells of the scoreboard, read-only, so that status needs no further
    question. A server of before they were two sends one."""

    fds: ClassVar[int] = 2
    fewest_fds: ClassVar[int | None] = 1
    pid: int
    aeros_version: str


@record
class Command(Message):
    """Do something. verb: reload, upgrade, scale, restart, stop, …; arguments: see `supervisor.commands`."""

    request: int
    verb: str
    arguments: dict[str, Any]


@record
class Answer(Message):
    """The outcome of a command. error: "" when it succeeded; kind_of_error: an exception name of `errors`."""

    request: int
    error: str
    error_kind: str
    traceback: str
    result: dict[str, Any]


def clip(text: str, limit: int = MAX_TEXT_CHARS) -> str:
    """Return `text`, or its first and last part with a note of what was left out between them."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def encode(message: Message) -> bytes:
    """Return the JSON bytes of `message`, without framing. Raises ValueError if it is too long."""
    record = {name: getattr(message, name) for name in field_names(message)}
    record["kind"] = type(message).__name__
    data = json.dumps(record, separators=(",", ":")).encode()
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"{type(message).__name__} is {len(data)} bytes long; the limit is {MAX_MESSAGE_BYTES}")
    return data


def decode(data: bytes, sender: str) -> Message:
    """Return the message in `data`. Raises ProtocolError naming `sender` for anything else."""
    try:
        record = json.loads(data, parse_int=_read_int, parse_float=_read_float, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"{sender} sent bytes that are not JSON: {error}") from None
    if not isinstance(record, dict):
        raise ProtocolError(f"{sender} sent a {type(record).__name__} where a message was expected")
    kind = record.pop("kind", None)
    cls = _KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise ProtocolError(f"{sender} sent a message of unknown kind {str(kind)[:80]!r}")
    for name, type_ in field_types(cls).items():
        expected = _JSON_TYPES[type_.partition("[")[0]]
        if name not in record:
            raise ProtocolError(f"{sender} sent a {kind} without {name!r}")
        value = record[name]
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
            raise ProtocolError(f"{sender} sent a {kind} whose {name!r} is a {type(value).__name__}")
        if "[str]" in type_ and not all(isinstance(item, str) for item in value):
            raise ProtocolError(f"{sender} sent a {kind} whose {name!r} is not a list of texts")
    if len(record) != len(field_names(cls)):
        extra = sorted(set(record) - set(field_names(cls)))
        raise ProtocolError(f"{sender} sent a {kind} with unknown {extra[0][:80]!r}")
    return cls(**record)


# JSON knows no bounds, and Python reads NaN and Infinity too. Here, so that it holds for what is deep inside, too.


def _read_int(text: str) -> int:
    # By its length first: reading a long one takes time by the square of it.
    if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**63:
        raise ValueError(f"the number {text[:24]} is out of range")
    return value


def _read_float(text: str) -> float:
    value = float(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"the number {text[:24]} is out of range")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def expected_fds(message: Message) -> int:
    """Return how many file descriptors accompany `message`."""
    count = type(message).fds
    return int(message.fd_count) if count == -1 else count  # type: ignore[attr-defined]


_JSON_TYPES: dict[str, Any] = {
    "int": int,
    "str": str,
    "bool": bool,
    "float": (int, float),
    "list": list,
    "dict": dict,
}
