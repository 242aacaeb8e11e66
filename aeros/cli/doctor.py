"""`aeros doctor`: whether this machine suits a server with these options, and what to change where it does not."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from ..core.memory.immortal import why_mortal
from ..core.net.certificates import CertificateError, TLSFiles, expiry, explain
from ..core.net.tickets import can_share
from ..core.net.unix_paths import is_in_reach
from ..core.places import runtime_directory, socket_path
from ..core.process.interpreter import untested
from ..core.process.signalling import open_pidfd
from ..core.record import as_dict, record, replace
from ..errors import AerosError
from ..options import Options, usable_cpus
from ..quart.versions import own_code
from ..server import connect, left_sockets, running_servers
from ..status.records import ServerStatus

#: Descriptors of a worker that are not connections: logs, channels, the event loop, what the app opens.
_OWN_FILES = 64
#: A server without --max-connections should hold at least so many connections in each worker.
_FEW_FILES = 4096
#: A small Quart app of its own, nothing shared; a worker that gets less will meet the kernel's killer.
_WORKER_BYTES = 64 << 20
_EXPIRY_WARNING_S = 30 * 86400.0


@record
class Finding:
    """One thing that was looked at. text: a sentence, what was found and, if not "ok", what to change."""

    check: str
    level: Literal["ok", "warning", "problem"]
    text: str

    def to_dict(self) -> dict[str, str]:
        return as_dict(self)


Findings = Iterator[Finding]


def examine(options: Options) -> list[Finding]:
    """Return what was found on this machine for a server with `options`. Starts nothing, changes nothing."""
    found = [Finding("options", "warning", f"{warning}.") for warning in options.warnings]
    checks = (
        *(open_files, backlog, memory, python, immortal_objects, cpus, event_loop, parser),
        *(quart, control, certificates, tls_sessions, kernel, servers),
    )
    for check in checks:
        found += check(options)
    return found


def render(findings: list[Finding]) -> str:
    """Return the findings for a terminal, one to a line, and a line that sums them up."""
    width = max(len(finding.check) for finding in findings)
    lines = [f"{finding.level:<7}  {finding.check:<{width}}  {finding.text}" for finding in findings]
    counts = [
        f"{count} {level}{'s' if count != 1 else ''}"
        for level in ("problem", "warning")
        if (count := sum(finding.level == level for finding in findings))
    ]
    return "\n".join([*lines, "", ", ".join(counts) or "nothing to change"])


def open_files(options: Options, limits: tuple[int, int] | None = None) -> Findings:
    """Whether a worker may open as many descriptors as it is to hold connections. limits: soft and hard."""
    soft, hard = (_endless(limit) for limit in limits or resource.getrlimit(resource.RLIMIT_NOFILE))
    said = f"a worker may open {_count(soft)} files (at most {_count(hard)})"
    wanted = options.max_connections
    if wanted is not None and wanted + _OWN_FILES > soft:
        need = wanted + _OWN_FILES
        beyond = ", beyond what an ordinary user may set" if need > hard else ""
        change = f"ulimit -n {need} before the start, or LimitNOFILE={need} in the unit{beyond}, or a lower limit"
        yield Finding("open files", "problem", f"{said}, too few for --max-connections {wanted}: set {change}.")
    elif wanted is None and soft < _FEW_FILES:
        more = _count(min(65536, hard)) if hard > soft else "65536"
        change = f"ulimit -n {more} before the start, LimitNOFILE={more} in the unit, or --max-connections"
        yield Finding("open files", "warning", f"{said}, and each connection is one: set {change}.")
    else:
        yield Finding("open files", "ok", f"{said}.")


def backlog(options: Options, proc: Path = Path("/proc")) -> Findings:
    """Whether the kernel grants the backlog that is asked for."""
    net, asked = proc / "sys/net", options.backlog
    most = _number(net / "core/somaxconn")
    if most is None:
        yield Finding("backlog", "ok", f"--backlog is {asked}; the system does not say what it grants.")
    elif most < asked:
        change = f"sysctl net.core.somaxconn={asked}, or --backlog {most}"
        yield Finding("backlog", "warning", f"--backlog is {asked}, net.core.somaxconn grants {most}: set {change}.")
    else:
        yield Finding("backlog", "ok", f"--backlog is {asked}, net.core.somaxconn grants up to {most}.")
    half_open, cookies = _number(net / "ipv4/tcp_max_syn_backlog"), _number(net / "ipv4/tcp_syncookies")
    # With SYN cookies the kernel goes by the listener's own backlog alone (tcp_conn_request).
    if half_open is not None and half_open < asked and cookies == 0:
        change = f"sysctl net.ipv4.tcp_max_syn_backlog={asked}, or net.ipv4.tcp_syncookies=1"
        text = f"net.ipv4.tcp_max_syn_backlog is {half_open}, below --backlog {asked}, and SYN cookies are off"
        yield Finding("half-open connections", "warning", f"{text}: set {change}.")
    elif half_open is not None:
        text = f"net.ipv4.tcp_max_syn_backlog is {half_open}, SYN cookies are {'on' if cookies else 'off'}"
        yield Finding("half-open connections", "ok", f"{text}.")


def memory(options: Options, available: int | None = None) -> Findings:
    """Whether the workers, and those of a reload beside them, fit. available: bytes; None: ask the system."""
    free = _available_memory() if available is None else available
    surge = options.workers if options.reload_surge is None else min(options.reload_surge, options.workers)
    count = options.workers + surge
    said = f"{_mib(free)} are available; a reload has up to {count} workers at a time"
    cap = options.max_rss_bytes
    if free < options.workers * _WORKER_BYTES // 4:
        text = f"{_mib(free)} are available, too little for {options.workers} workers"
        yield Finding("memory", "problem", f"{text}: lower --workers or add memory.")
    elif cap is not None and count * cap > free:
        yield Finding(
            "memory",
            "warning",
            f"{said}, each up to --max-rss {_mib(cap)}: lower --max-rss, --workers or --reload-surge.",
        )
    elif free < count * _WORKER_BYTES:
        yield Finding("memory", "warning", f"{said}: lower --workers, set --reload-surge 1, or add memory.")
    else:
        yield Finding("memory", "ok", f"{said}.")


def python(options: Options, sentence: str | None = None) -> Findings:
    """Which Python serves, and whether Aeros is tested with it. sentence: what is to be said of it; None: look."""
    said = untested() if sentence is None else sentence
    text = f"{platform.python_implementation()} {platform.python_version()}"
    yield Finding("Python", "warning" if said else "ok", f"{text}{': ' + said if said else ''}.")


def immortal_objects(options: Options) -> Findings:
    """Whether workers share the memory of the program's functions and classes."""
    reason = "--immortal is off" if options.immortal == "off" else why_mortal()
    if reason:
        yield Finding("immortal objects", "ok", f"off: {reason}; each worker keeps some 6 MB more for itself.")
    else:
        yield Finding("immortal objects", "ok", "on: using functions and classes copies no memory of the workers.")


def cpus(options: Options) -> Findings:
    """Whether there are CPUs for the workers."""
    usable = usable_cpus()
    said = f"{options.workers} worker{'s' if options.workers != 1 else ''}, {usable.count} usable CPUs ({usable.why})"
    if options.workers > 2 * usable.count:
        yield Finding("CPUs", "warning", f"{said}: more take turns and cost memory; set --workers auto.")
    else:
        idle = "; --workers auto would use all" if options.workers < usable.count else ""
        yield Finding("CPUs", "ok", f"{said}{idle}.")


def event_loop(options: Options) -> Findings:
    """Whether the workers' loop is there."""
    missing = _import_fails("uvloop")
    if options.worker_class == "uvloop" and missing:
        yield Finding("event loop", "problem", f"uvloop cannot be imported ({missing}): pip install uvloop.")
    elif missing and options.sources["worker_class"] == "default":
        yield Finding("event loop", "warning", "uvloop is missing, asyncio is used: pip install uvloop.")
    else:
        yield Finding("event loop", "ok", f"workers run on {options.worker_class}.")


def parser(options: Options) -> Findings:
    """Whether the fast lane has its parser."""
    if options.http != "lane":
        yield Finding("parser", "ok", f"httptools is not needed with --http {options.http}.")
    elif missing := _import_fails("httptools"):
        yield Finding("parser", "problem", f"httptools cannot be imported ({missing}): pip install httptools.")
    else:
        yield Finding("parser", "ok", f"httptools {version('httptools')} parses HTTP/1.1.")


def quart(options: Options) -> Findings:
    """Whether the installed Quart is one that the lean path knows."""
    text = own_code()
    if text is None:
        yield Finding("Quart", "ok", f"Quart {version('quart')} is served on the lean path.")
    else:
        yield Finding("Quart", "warning", f"{text}; install one of these for speed.")


def control(options: Options) -> Findings:
    """Whether the control socket can be had where it is to be."""
    where = options.control
    if where == "off":
        yield Finding("control", "ok", "--control is off: no aeros command reaches the server, only signals do.")
        return
    # No pid is longer than seven digits.
    path = socket_path(9999999) if where == "auto" else Path(where)
    folder = path.absolute().parent
    if where == "auto" and not folder.exists():
        folder = folder.parent
    if reason := _unusable(folder, private=folder == runtime_directory()):
        yield Finding("control", "problem", f"no control socket at {path}: {reason}; see --control.")
    elif not is_in_reach(path):
        yield Finding("control", "problem", f"no control socket at {path}, the path is too long: set --control.")
    elif folder == runtime_directory() and stat.S_IMODE(folder.stat().st_mode) & 0o077:
        text = f"{folder} is open to other users; the next start closes it"
        yield Finding("control", "warning", f"{text}, or now: chmod 700 {folder}.")
    else:
        yield Finding("control", "ok", f"the control socket can stand in {path.absolute().parent}.")


def _unusable(folder: Path, *, private: bool) -> str:
    try:
        found = folder.lstat() if private else folder.stat()
    except OSError as error:
        return f"{folder}: {error.strerror}"
    if not stat.S_ISDIR(found.st_mode):
        return f"{folder} is not a directory"
    if private and found.st_uid != os.geteuid():
        return f"{folder} belongs to user {found.st_uid}"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"{folder} cannot be written to"


def certificates(options: Options, now: float | None = None) -> Findings:
    """Whether each certificate can be read, fits its key, and lasts. now: as time.time()."""
    if not options.tls:
        yield Finding("certificate", "ok", "no TLS is asked for.")
        return
    assert options.tls_files is not None
    files = TLSFiles.from_message(options.tls_files)
    good = True
    for pair in files.pairs:
        finding = _certificate(replace(files, pairs=(pair,), ca_certs=None), time.time() if now is None else now)
        good = good and finding.level != "problem"
        yield finding
    try:
        if good:
            files.read()  # the CA certificates, then ciphers and flags
            options.hypercorn_config().create_ssl_context()
    except CertificateError as error:
        yield Finding("certificate", "problem", f"{error}.")
    except (ssl.SSLError, OSError) as error:
        reason = explain(error) if isinstance(error, ssl.SSLError) else str(error)
        yield Finding("certificate", "problem", f"TLS cannot be set up: {reason}.")


def tls_sessions(options: Options, shared: bool | None = None) -> Findings:
    """Whether every worker can resume a TLS session. shared: whether this Python lets ticket keys be set."""
    if not options.tls:
        return
    if can_share() if shared is None else shared:
        yield Finding("TLS sessions", "ok", "every worker resumes the sessions of all others.")
    else:
        text = "a session is resumed only by the worker that began it, since this Python hides OpenSSL, as some do."
        yield Finding("TLS sessions", "warning", text)


def _certificate(files: TLSFiles, now: float) -> Finding:
    pair = files.pairs[0]
    said = f"certificate {pair.certfile}" + (f" for {pair.name}" if pair.name else "")
    try:
        files.read()
        ends = expiry(Path(pair.certfile).read_text("latin1"))
    except (CertificateError, OSError) as error:
        return Finding("certificate", "problem", f"{error}.")
    if ends is None:
        return Finding("certificate", "warning", f"{said} can be used, but its end cannot be told: look with openssl.")
    day, days = time.strftime("%Y-%m-%d", time.gmtime(ends)), int((ends - now) // 86400)
    if ends < now:
        return Finding("certificate", "problem", f"{said} expired on {day}: renew it.")
    left = f"{said} is good for {days} more day{'s' if days != 1 else ''}, until {day}"
    if ends - now < _EXPIRY_WARNING_S:
        return Finding("certificate", "warning", f"{left}: renew it.")
    return Finding("certificate", "ok", f"{left}.")


def kernel(options: Options) -> Findings:
    """Whether the system has what the family is held together with."""
    release, pidfd = f"{os.uname().sysname} {os.uname().release}", open_pidfd(os.getpid())
    if pidfd is None:
        text = (
            f"{release} gives no pidfd, so signals go by number: use Linux 5.3 or later, in no sandbox that denies it"
        )
        yield Finding("kernel", "warning", f"{text}.")
    else:
        os.close(pidfd)
        yield Finding("kernel", "ok", f"{release} has pidfds: a signal never meets a foreign process.")


def servers(options: Options, connected: Callable[[int | str], ServerStatus] | None = None) -> Findings:
    """How the running servers of this user are. connected: gives the status of one."""
    try:
        named: list[int | str] = [*running_servers(), *left_sockets()]
    except AerosError as error:
        yield Finding("servers", "problem", f"{error}.")
        return
    if options.control not in ("auto", "off") and Path(options.control).is_socket():
        named.append(options.control)
    if not named:
        yield Finding("servers", "ok", "no server of this user is running.")
    for name in named:
        try:
            status = (connected or _status)(name)
        except AerosError as error:
            yield Finding("servers", "warning", f"server {name} does not answer: {error}.")
            continue
        yield from server(status)


def server(status: ServerStatus) -> Findings:
    """How one server is, by its status."""
    failed = [slot.slot for slot in status.slots if slot.state == "failed"]
    last, good = status.last_reload, True
    if failed:
        good = False
        slots = f"slot{'s' if len(failed) != 1 else ''} {', '.join(map(str, failed))}"
        text = f"server {status.pid} has given up {slots}, whose workers keep dying"
        yield Finding("servers", "problem", f"{text}: see aeros status {status.pid} and the log.")
    if last is not None and not last.ok:
        good = False
        why = f" ({last.reason})" if last.reason else ""
        text = f"the last reload of server {status.pid} was refused{why}, old code serves"
        yield Finding("servers", "problem", f"{text}: mend it, then aeros reload {status.pid}.")
    if load := status.describe_load():
        later = "; used for the first time in @app.after_fork or before_serving it does not" if status.threads else ""
        serves = status.load == "worker"
        good = good and serves
        yield Finding("servers", "ok" if serves else "problem", f"server {status.pid}: {load}{later}.")
    if good:
        ready = f"{status.ready_workers} of {status.target_workers} workers ready"
        yield Finding("servers", "ok", f"server {status.pid} is {status.state}, {ready}.")


def _status(named: int | str) -> ServerStatus:
    handle = connect(named)
    try:
        return handle.status()
    finally:
        handle.close()


# --- what the system says ------------------------------------------------------------------------------------------


def _available_memory() -> int:
    """Return bytes that may still be used: the system's, or what the cgroup leaves where that is less."""
    import psutil

    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, IndexError):
        group = Path("/proc/self/cgroup").read_text().splitlines()[-1].partition("::")[2].strip("/")
        for folder in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup", group)):
            limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
            if limit is not None and used is not None:
                free = min(free, max(0, limit - used))
    return free


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max", too
        return None


def _endless(limit: int) -> float:
    return float("inf") if limit == resource.RLIM_INFINITY else limit


def _count(limit: float) -> str:
    return "any number of" if limit == float("inf") else str(int(limit))


def _import_fails(name: str) -> str:
    try:
        import_module(name)
    except ImportError as error:
        return str(error)
    return ""


def _mib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size >> 20} MiB"
