"""Listening sockets: bound once, by the process that starts the server, and held for the server's whole life.

No SO_REUSEPORT for TCP: a second server must fail to bind, and a worker that ends must not take a backlog with it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...core.net.listener import Kind, Listener
from ...core.net.steering import can_steer
from ...core.process.files import give_socket
from ...errors import BindError
from .activation import NONE, Activated

if TYPE_CHECKING:
    from ..model.plan import Plan

#: So often a free port is looked for that is free in both families.
_PORT_TRIES = 16


class Inherited(Protocol):
    """What the supervisor before this one has bound; see `upgrade.inheritance`."""

    @property
    def binds(self) -> tuple[str, ...]: ...
    def claim(self, bind: str, *, datagrams: bool, name: object = None, every: bool = False) -> list[Listener]: ...
    def claim_admin(self, bind: str, name: object) -> Listener | None: ...


def bind_all(plan: Plan, activated: Activated = NONE, inheritance: Inherited | None = None) -> list[Listener]:
    """Bind every address of `plan`, or none. Raises BindError naming the address and what to do.

    activated: sockets of systemd's, taken where no bind was given, or by name. They are closed when it fails.
    inheritance: what the supervisor before this one has bound; claimed where it is the same address.
    """
    binds = list(plan.binds)
    if activated.sockets and plan.bind_by_default:
        binds = [f"fd://{name}" for name in activated.names]
    if inheritance is not None and _were_activated(plan, inheritance):
        binds = list(inheritance.binds)
    wanted: list[tuple[str, Kind]] = [(bind, "secure" if plan.tls else "insecure") for bind in binds]
    if plan.tls:
        wanted += [(bind, "insecure") for bind in plan.insecure_binds]
        wanted += [(bind, "quic") for bind in plan.quic_binds]
    listeners: list[Listener] = []
    try:
        for bind, kind in wanted:
            # Before systemd is asked, which passes its sockets only to the first supervisor.
            if is_localhost(bind):
                listeners += _bind_localhost(bind, kind, plan, inheritance)
            elif inherited := _inherited(bind, kind, inheritance):
                listeners += inherited
            elif passed := _passed(bind, activated):
                # One after the other, so that those before it are closed when one is refused.
                for fd in passed:
                    listeners.append(_adopt_descriptor(bind, kind, fd))
            else:
                listeners.append(_bind(bind, kind, plan))
    except BaseException:
        close_all(listeners)
        raise
    finally:
        for _, fd in activated.sockets:
            os.close(fd)
    return listeners


def bind_admin(plan: Plan, inheritance: Inherited | None = None) -> Listener:
    """Bind the address of the dashboard, or claim it. Raises BindError."""
    assert plan.admin is not None
    if inheritance is not None and (inherited := inheritance.claim_admin(plan.admin, _address_of(plan.admin))):
        return inherited
    if plan.admin.startswith("unix:"):
        return _bind_unix(plan.admin, "insecure", plan, plan.admin_mode)
    return _bind_inet(plan.admin, "insecure", plan)


def _address_of(bind: str) -> object:
    """Return what the kernel calls the address, to compare it with that of a socket."""
    return None if bind.startswith("unix:") else _resolved(bind, "insecure")[1][:2]


def _were_activated(plan: Plan, inheritance: Inherited) -> bool:
    """Whether the sockets were systemd's, and taken for want of a bind, which is still wanting."""
    binds = inheritance.binds
    return plan.bind_by_default and bool(binds) and all(bind.startswith("fd://") for bind in binds)


def _inherited(bind: str, kind: Kind, inheritance: Inherited | None) -> list[Listener]:
    """Return the listeners of the supervisor before this one that `bind` means."""
    if inheritance is None:
        return []
    named = bind.startswith("fd://")
    found = inheritance.claim(bind, datagrams=kind == "quic", every=named or is_localhost(bind))
    if not found and not named and not bind.startswith("unix:"):
        # Written otherwise, as localhost:8000 instead of 127.0.0.1:8000.
        found = inheritance.claim(bind, datagrams=kind == "quic", name=_resolved(bind, kind)[1][:2])
    for listener in found:
        listener.bind, listener.kind = bind, kind
    return found


def _passed(bind: str, activated: Activated) -> list[int]:
    """Return the sockets of systemd's that `bind` means; [] where it means something else. Raises BindError."""
    if not bind.startswith("fd://"):
        return []
    name = bind.removeprefix("fd://")
    found = activated.named(name)
    if not found and not name.isdecimal():
        passed = f"it passed {', '.join(activated.names)}" if activated.sockets else "it passed none"
        raise BindError(f"cannot use {bind}: systemd passed no socket named {name} to this process ({passed})")
    return found


def close_all(listeners: Sequence[Listener]) -> None:
    """Close the sockets, and remove the Unix socket files that are still the ones we made."""
    for listener in listeners:
        listener.sock.close()
        if listener.path:
            with contextlib.suppress(OSError):
                if os.lstat(listener.path).st_ino == listener.inode:
                    Path(listener.path).unlink()


def _bind(bind: str, kind: Kind, plan: Plan) -> Listener:
    if bind.startswith("fd://"):
        return _adopt_descriptor(bind, kind, int(bind.removeprefix("fd://")))
    if bind.startswith("unix:@"):
        return _bind_abstract(bind, kind, plan)
    if bind.startswith("unix:"):
        return _bind_unix(bind, kind, plan)
    return _bind_inet(bind, kind, plan)


def _resolved(bind: str, kind: Kind) -> tuple[socket.AddressFamily, Any]:
    """Return the family and the address of a bind. Raises BindError."""
    host, port = split_host_port(bind)
    kind_of_socket = socket.SOCK_DGRAM if kind == "quic" else socket.SOCK_STREAM
    try:
        # As with Hypercorn, a name means its IPv4 address; IPv6 is asked for by writing an IPv6 address.
        wanted = socket.AF_INET6 if ":" in host else socket.AF_INET
        found = socket.getaddrinfo(host or None, port, wanted, kind_of_socket, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise BindError(
            f"cannot bind {bind}: the host {host!r} is not known here ({error.strerror or error})"
        ) from None
    family, _, _, _, address = found[0]
    return family, address


def is_localhost(bind: str) -> bool:
    """Whether the address is that name, which means 127.0.0.1 and ::1: clients try either first."""
    return not bind.startswith(("unix:", "fd://")) and split_host_port(bind)[0].lower() == "localhost"


def _bind_localhost(bind: str, kind: Kind, plan: Plan, inheritance: Inherited | None) -> list[Listener]:
    """Return a listener for each of both families, with one port; of IPv4 alone where the machine has no ::1.

    What is inherited is claimed. Raises BindError.
    """
    for left in reversed(range(_PORT_TRIES)):
        found = _inherited(bind, kind, inheritance) or [_bind_inet(bind, kind, plan)]
        port = found[0].sock.getsockname()[1]
        try:
            return found + _other_family(bind, kind, plan, inheritance, found, port)
        except BindError:
            close_all(found)
            if not left or split_host_port(bind)[1] != 0:
                raise  # else the free port of IPv4 is taken in IPv6: there are others
    raise AssertionError


def _other_family(
    bind: str, kind: Kind, plan: Plan, inheritance: Inherited | None, found: list[Listener], port: int
) -> list[Listener]:
    """Return the listener at ::1 that `found` wants; none where it is there, not possible, or asked for by itself."""
    address = f"[::1]:{port}"
    others = plan.quic_binds if kind == "quic" else (*plan.binds, *plan.insecure_binds)
    if any(listener.sock.family == socket.AF_INET6 for listener in found) or address in others or not _has_loopback6():
        return []
    listeners = _inherited(address, kind, inheritance) or [_bind_inet(address, kind, plan)]
    for listener in listeners:
        listener.bind = bind
    return listeners


def _has_loopback6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _bind_inet(bind: str, kind: Kind, plan: Plan) -> Listener:
    host, port = split_host_port(bind)
    family, address = _resolved(bind, kind)
    kind_of_socket = socket.SOCK_DGRAM if kind == "quic" else socket.SOCK_STREAM
    # IPPROTO_TCP and not 0: asyncio sets TCP_NODELAY only on sockets that say they are TCP.
    sock = socket.socket(family, kind_of_socket, socket.IPPROTO_UDP if kind == "quic" else socket.IPPROTO_TCP)
    try:
        if kind != "quic":
            # Accepted connections inherit it, so no worker pays a system call for it.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and sys.platform != "openbsd":
            # "[::]" is IPv6 only, so that "0.0.0.0" beside it can be bound as well, as Hypercorn's users do.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" and not _also_any4(plan) else 1)
        if kind == "quic":
            _claim_datagrams(sock, address)
        sock.bind(address)
        if kind != "quic":
            sock.listen(plan.backlog)
    except OSError as error:
        sock.close()
        raise BindError(_why_not(bind, host, port, error)) from None
    sock.setblocking(False)
    return Listener(sock, bind, kind)


def _claim_datagrams(sock: socket.socket, address: Any) -> None:
    """Make sure that nobody else is there, then let the socket have others of ours beside it (core.net.steering).

    Raises OSError. A second server of the same user would become part of the group, so one without SO_REUSEPORT is
    bound first, and closed again. (SO_REUSEADDR is not set: Linux would let a second server of UDP bind by it.)
    """
    if can_steer():
        if address[1]:
            with socket.socket(sock.family, socket.SOCK_DGRAM) as probe:
                if sock.family == socket.AF_INET6:
                    only = sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
                probe.bind(address)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def _also_any4(plan: Plan) -> bool:
    every = (*plan.binds, *plan.insecure_binds)
    return any(split_host_port(bind)[0] == "0.0.0.0" for bind in every if not bind.startswith(("unix:", "fd://")))


def _bind_abstract(bind: str, kind: Kind, plan: Plan) -> Listener:
    """Bind a name without a file, see unix(7). It has no owner and no mode, and goes with its last socket."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(b"\0" + os.fsencode(bind.removeprefix("unix:@")))
        sock.listen(plan.backlog)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            why = "another process is listening on it; stop that one or choose another name"
            raise BindError(f"cannot bind {bind}: {why}") from None
        raise BindError(f"cannot bind {bind}: {error.strerror}") from None
    sock.setblocking(False)
    return Listener(sock, bind, kind)


def _bind_unix(bind: str, kind: Kind, plan: Plan, mode: int | None = None) -> Listener:
    """mode: of the file, from its first moment on; None: as --umask has it."""
    path = bind.removeprefix("unix:")
    _clear_stale(path, bind)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # As gunicorn and uvicorn do: a proxy runs as another user, and who may enter the folder is the folder's to say.
    umask = (plan.umask or 0) if mode is None else 0o777 & ~mode
    previous = os.umask(umask)
    try:
        sock.bind(path)
    except OSError as error:
        sock.close()
        raise BindError(f"cannot bind {bind}: {error.strerror}") from None
    finally:
        os.umask(previous)
    user, group = plan.user, plan.group
    try:
        if user is not None or group is not None:
            give_socket(path, -1 if user is None else user, -1 if group is None else group)
        sock.listen(plan.backlog)
        inode = os.lstat(path).st_ino
    except OSError as error:
        sock.close()
        Path(path).unlink(missing_ok=True)
        raise BindError(f"cannot give {bind} to user {user} and group {group}: {error.strerror}") from None
    sock.setblocking(False)
    return Listener(sock, bind, kind, inode, str(Path(path).absolute()))


def _clear_stale(path: str, bind: str) -> None:
    """Remove a socket file nobody listens on. Anything else in the way is refused and left alone."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except FileNotFoundError:
        return
    except OSError as error:
        raise BindError(f"cannot bind {bind}: {error.strerror}") from None
    if not stat.S_ISSOCK(mode):
        raise BindError(f"cannot bind {bind}: there is a file of another kind at that path; it is left alone")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
        except OSError as error:
            raise BindError(f"cannot bind {bind}: a socket is there and cannot be asked ({error})") from None
    raise BindError(f"cannot bind {bind}: another process is listening on it; stop that one or choose another path")


def _adopt_descriptor(bind: str, kind: Kind, number: int) -> Listener:
    wanted = socket.SOCK_DGRAM if kind == "quic" else socket.SOCK_STREAM
    try:
        # A duplicate, so that closing ours leaves the caller's descriptor alone.
        sock = socket.socket(fileno=os.dup(number))
        if sock.type != wanted:
            raise BindError(f"cannot use {bind}: it is a {sock.type.name}, and {wanted.name} is needed")
        if kind != "quic" and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.listen(socket.SOMAXCONN)
    except OSError as error:
        raise BindError(f"cannot use {bind}: descriptor {number} is not an open socket ({error.strerror})") from None
    if sock.family in (socket.AF_INET, socket.AF_INET6) and kind != "quic":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    return Listener(sock, bind, kind)


def split_host_port(bind: str) -> tuple[str, int]:
    """Return host and port of "host:port", "host", "[::1]:8000" or "::1"; the port is 8000 where none is given."""
    if bind.startswith("["):
        host, _, rest = bind[1:].partition("]")
        return host, int(rest[1:]) if rest.startswith(":") else 8000
    host, colon, port = bind.rpartition(":")
    if not colon or ":" in host:
        return (bind, 8000) if not colon or not _is_host_port6(host, port) else (host, int(port))
    return host, int(port)


def _is_host_port6(host: str, port: str) -> bool:
    """Hypercorn reads "::1:8000" as host "::1" and port 8000."""
    try:
        socket.inet_pton(socket.AF_INET6, host)
    except OSError:
        return False
    return port.isdigit() and len(port) > 3


def _why_not(bind: str, host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = holder_of(port)
        held = f"is held by pid {holder[0]} ({holder[1]})" if holder else "is held by another process"
        return f"cannot bind {bind}: port {port} {held}; stop it or choose another port"
    if error.errno == errno.EACCES:
        return f"cannot bind {bind}: ports below 1024 need root or CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot bind {bind}: {host} is not an address of this machine"
    return f"cannot bind {bind}: {error.strerror}"


def holder_of(port: int) -> tuple[int, str] | None:
    """Return (pid, name) of who listens on TCP `port`, or None where that is not for us to see (Linux only)."""
    inodes = {inode for table in ("/proc/net/tcp", "/proc/net/tcp6") for inode in _listening_inodes(table, port)}
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    holders = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if any(os.readlink(fd) in wanted for fd in (entry / "fd").iterdir()):  # noqa: PTH115
                    holders.append((int(entry.name), (entry / "comm").read_text().strip()))
    return min(holders, default=None)


def _listening_inodes(table: str, port: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for line in Path(table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == port:
                yield columns[9]
