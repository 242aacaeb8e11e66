"""Values with a meaning of their own: addresses, paths, names of levels, loops and certificates' checks.

Converters as in units.py: anything in, one type out, or BadValueError. Modules needed by one option alone
(ssl, pwd, ipaddress, logging) are imported when that option is given, since every worker start pays for the
others.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from ..core.shared.scoreboard import MAX_WORKERS
from .units import BadValueError, Converter, whole

DEFAULT_PORT = 8000

#: sockaddr_un.sun_path is 108 bytes on Linux, the last of them NUL.
LONGEST_UNIX_PATH = 107

AUTO = "auto"

_PORT = whole(0, 65535)
_NAME = r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?"


def text(value: object) -> str:
    """Return a str as it is. Paths count as text too."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise BadValueError("must be text")
    if "\0" in value:
        raise BadValueError("must not hold a NUL character")
    return value


def filled(value: object) -> str:
    """Return a str that is not empty."""
    result = text(value)
    if not result.strip():
        raise BadValueError("must not be empty", echo=False)
    return result


def request_path(value: object) -> str:
    """Return the path of a request, with its query string if it has one: "/", "/search?q=a"."""
    result = filled(value)
    if not result.startswith("/") or result.startswith("//"):
        raise BadValueError("must begin with one /, as in /search?q=a")
    if "#" in result or any(character.isspace() for character in result):
        raise BadValueError("must be a path as a client sends it, without spaces and #")
    return result


def target(value: object) -> object:
    """Return where a log goes: a path, "-" (the standard stream), None (nowhere; "" too) or a Logger."""
    if value is None or value == "":
        return None
    if not isinstance(value, str | os.PathLike):
        import logging

        if isinstance(value, logging.Logger):
            return value
        raise BadValueError("must be a path or - for the standard stream")
    return text(value)


def optional_text(value: object) -> str | None:
    """Return a str, or None for None and for the empty text."""
    return None if value is None or value == "" else text(value)


def one_of(*names: str) -> Converter:
    """Return a converter that takes exactly these words, in any case."""

    def convert(value: object) -> str:
        if isinstance(value, str) and value.strip().lower() in names:
            return value.strip().lower()
        raise BadValueError(f"must be {' or '.join(names)}")

    return convert


def faults(value: object) -> object:
    """Return a `FaultPlan` from its text."""
    from ..core.faults import FaultPlan, parse

    if isinstance(value, FaultPlan):
        return value
    try:
        return parse(text(value))
    except BadValueError:
        raise
    except ValueError as error:
        raise BadValueError(str(error), echo=False) from None


def several(convert: Converter, *, least: int = 0) -> Converter:
    """Return a converter to a tuple; one value alone makes a tuple of one."""

    def convert_all(value: object) -> tuple[object, ...]:
        if isinstance(value, str | os.PathLike):
            value = [value]
        if not isinstance(value, list | tuple | set | frozenset):
            raise BadValueError("must be text or a list of texts")
        if len(value) < least:
            raise BadValueError("must name at least one", echo=False)
        return tuple(convert(item) for item in value)

    return convert_all


# -- fleet


def workers(value: object) -> object:
    """Return the number of workers, or AUTO. 0, Hypercorn's "run in this process", gives 1."""
    if isinstance(value, str) and value.strip().lower() == AUTO:
        return AUTO
    try:
        return max(1, int(str(whole(0, MAX_WORKERS)(value))))
    except BadValueError:
        raise BadValueError(f"must be a whole number from 1 to {MAX_WORKERS}, or auto") from None


def worker_class(value: object) -> str:
    """Return "asyncio" or "uvloop". Refuses trio, and uvloop where it is not installed."""
    name = value.strip().lower() if isinstance(value, str) else value
    if name == "trio":
        raise BadValueError("cannot be trio: Quart apps run on asyncio; use uvloop or asyncio", echo=False)
    if name not in ("asyncio", "uvloop"):
        raise BadValueError("must be uvloop or asyncio")
    if name == "uvloop" and find_spec("uvloop") is None:
        raise BadValueError("cannot be uvloop: it is not installed; use asyncio or pip install uvloop", echo=False)
    return str(name)


# -- listeners


def host(value: object) -> str:
    """Return a host name or IP address. IPv6 loses its brackets: "[::1]" gives "::1"."""
    if not isinstance(value, str):
        raise BadValueError("must be a host name or an IP address")
    name = value.strip()
    if name.startswith(("unix:", "fd://")):
        raise BadValueError("must be a host name or an IP address; give a Unix socket or a descriptor as bind")
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    if ":" in name:
        if not is_ipv6(name):
            raise BadValueError("must be a host name or an IP address, without a port")
    elif not re.fullmatch(_NAME, name) or not all(0 < len(label) < 64 for label in name.rstrip(".").split(".")):
        raise BadValueError("must be a host name or an IP address")
    return name


def port(value: object) -> int:
    """Return a port number; 0 lets the kernel choose."""
    return int(str(_PORT(value)))


def address(value: object) -> str:
    """Return one bind address in its full spelling: "host:port", "[ipv6]:port", "unix:path" or "fd://number".

    "unix:@name" is an abstract socket.
    Reads Hypercorn's spellings, and so a missing port is 8000, a missing host is every IPv4 address, and
    "::1:9000" without brackets is ::1, port 9000. Unlike Hypercorn, a port that is no number is no part of
    the host.
    """
    given = text(value).strip()
    if not given:
        raise BadValueError("must not be empty; write host:port, unix:path or fd://number", echo=False)
    if given.startswith("unix:"):
        return "unix:" + _unix_path(given[len("unix:") :])
    if given.startswith("fd:"):
        number = given.removeprefix("fd://")
        if re.fullmatch(r"[0-9]{1,9}", number):
            return f"fd://{int(number)}"
        if not re.fullmatch(r"(?![0-9]+$)\w[\w.@-]{0,254}", number):
            raise BadValueError("must be fd:// and the number of an inherited descriptor, or the name systemd gave one")
        return f"fd://{number}"
    if "/" in given:
        raise BadValueError("must be an address such as 127.0.0.1:8000, without a scheme and a path")
    return join_host_port(*_host_and_port(given))


def peers(value: object) -> tuple[str, ...]:
    """Return peers joined by commas, or a list of such texts, as networks, "unix" and "*", each once, in order."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple | set | frozenset):
        raise BadValueError("must be text or a list of texts")
    named = [name for item in value for part in text(item).split(",") if (name := part.strip().lower())]
    return tuple(dict.fromkeys(name if name in ("unix", "*") else _network(name) for name in named))


def _network(name: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_network(name))
    except ValueError:
        pass
    try:
        whole_network = ipaddress.ip_network(name, strict=False)
    except ValueError:
        raise BadValueError("must be addresses such as 10.0.0.7, networks such as 10.0.0.0/8, unix or *") from None
    raise BadValueError(f"has an address with a netmask that cuts it off; write {whole_network}")


def split_host_port(bind: str) -> tuple[str, int] | None:
    """Return host and port of an address as address() writes it, or None for unix: and fd://."""
    if bind.startswith(("unix:", "fd://")):
        return None
    name, _, number = bind.rpartition(":")
    return name.strip("[]"), int(number)


def join_host_port(name: str, number: int) -> str:
    """Return "host:port", with brackets around an IPv6 address."""
    return f"[{name}]:{number}" if ":" in name else f"{name}:{number}"


def is_ipv6(name: str) -> bool:
    """Tell whether the text is an IPv6 address, with or without a zone."""
    import ipaddress

    try:
        ipaddress.IPv6Address(name)
    except ValueError:
        return False
    return True


def _host_and_port(given: str) -> tuple[str, int]:
    name, colon, number = given.rpartition(":")
    bracketed = name.startswith("[") and name.endswith("]")
    if not colon or given.endswith("]"):
        name, number = given, str(DEFAULT_PORT)
    elif ":" in name and not bracketed and not (is_ipv6(name) and number.isdecimal()):
        # "2001:db8::1": what stands before the last colon is no address, so the whole is one, without a port.
        if not is_ipv6(given):
            raise BadValueError("must be an address such as 127.0.0.1:8000, [::1]:8000, unix:path or fd://3")
        name, number = given, str(DEFAULT_PORT)
    try:
        parsed_port = port(number)
    except BadValueError:
        raise BadValueError("must have a port from 0 to 65535 after its last colon") from None
    if not name:
        return "0.0.0.0", parsed_port  # what Hypercorn's "" amounts to
    try:
        return host(name), parsed_port
    except BadValueError:
        raise BadValueError("must begin with a host name or an IP address") from None


def _unix_path(path: str) -> str:
    if not path:
        raise BadValueError("must have a path after unix:")
    if path.startswith("@"):
        if path == "@":
            raise BadValueError("must have a name after unix:@")
        if sys.platform != "linux":
            raise BadValueError(f"is an abstract socket, which only Linux has; unix:./{path} is a file of that name")
    try:
        length = len(os.fsencode(path))
    except UnicodeEncodeError:
        raise BadValueError("must have a path the file system can hold") from None
    if length > LONGEST_UNIX_PATH:
        raise BadValueError(f"must have a path of at most {LONGEST_UNIX_PATH} bytes ({length} given)")
    return path


def umask(value: object) -> int:
    """Return a umask, 0 to 0o777. 0o22 and 022 are octal; 18 is decimal, as Hypercorn has it."""
    wanted = "must be a umask from 0 to 0o777; write octal as 0o022 or 022"
    number: object = value
    if isinstance(value, str):
        # Hypercorn reads "022" as twenty-two. Nobody writes that for a decimal number, so octal it is.
        octal = re.fullmatch(r"0o?([0-7]{1,4})", value.strip())
        number = int(octal[1], 8) if octal else value
    try:
        return int(str(whole(0, 0o777)(number)))
    except BadValueError:
        raise BadValueError(wanted) from None


def user_id(value: object) -> int:
    """Return a numeric user id; a name is looked up."""
    return _account(value, "user")


def group_id(value: object) -> int:
    """Return a numeric group id; a name is looked up."""
    return _account(value, "group")


def account(value: object) -> str:
    """Return "user" or "user:group", of this machine."""
    from ..core.process.privileges import UnknownAccountError, find_account

    given = filled(str(value) if isinstance(value, int) and not isinstance(value, bool) else value).strip()
    try:
        find_account(given)
    except UnknownAccountError as error:
        raise BadValueError(f"must be USER or USER:GROUP; {error}") from None
    return given


def _account(value: object, kind: str) -> int:
    if isinstance(value, str) and not value.strip().lstrip("-").isdecimal():
        import grp
        import pwd

        try:
            return pwd.getpwnam(value).pw_uid if kind == "user" else grp.getgrnam(value).gr_gid
        except (KeyError, ValueError):  # ValueError: a NUL or what cannot be encoded
            raise BadValueError(f"must be the number or the name of a {kind} on this machine") from None
    return int(str(whole(0, 2**32 - 2)(value)))


# -- TLS


def sni(value: object) -> str:
    """Return "host=cert:key", the host in lower case and in ASCII, the paths as given."""
    wanted = "must be HOST=CERT:KEY, such as www.example.com=cert.pem:key.pem"
    host_name, equals, paths = filled(value).strip().partition("=")
    certificate, colon, key = paths.partition(":")
    if not equals or not colon or not certificate or not key:
        raise BadValueError(wanted)
    name = host_name.strip().lower().rstrip(".")
    with contextlib.suppress(UnicodeError):
        name = name.encode("idna").decode("ascii") if not name.isascii() else name
    if not re.fullmatch(_NAME, name.removeprefix("*.")):
        raise BadValueError(f"{wanted}; a wildcard is the whole first part: *.example.com")
    return f"{name}={certificate}:{key}"


def header(value: object) -> str:
    """Return "name: value", the name in lower case, for NAME:VALUE or a pair."""
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(part, str) for part in value):
        value = ":".join(value)
    name, colon, text = filled(value).partition(":")
    name, text = name.strip().lower(), text.strip()
    if not colon or not re.fullmatch(r"[-!#$%&'*+.^_`|~0-9a-z]+", name):
        raise BadValueError("must be NAME:VALUE, such as X-Frame-Options:DENY")
    if name in ("content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "keep-alive"):
        raise BadValueError(f"cannot be {name}: that is the server's to say for each response", echo=False)
    if not text.isprintable():
        raise BadValueError("must have a value without line breaks and control characters")
    return f"{name}: {text}"


def verify_mode(value: object) -> object:
    """Return an ssl.VerifyMode for its name, with or without CERT_, or its number (Hypercorn's cert_reqs)."""
    import ssl

    if isinstance(value, ssl.VerifyMode):
        return value
    if isinstance(value, str):
        name = value.strip().upper()
        for mode in ssl.VerifyMode:
            if name in (mode.name, mode.name.removeprefix("CERT_"), str(int(mode))):
                return mode
    elif isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 2:
        return ssl.VerifyMode(value)
    raise BadValueError(f"must be {', '.join(mode.name for mode in ssl.VerifyMode)}")


def verify_flags(value: object) -> object:
    """Return ssl.VerifyFlags for one name, several joined by | or in a list, or the number."""
    import ssl

    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return ssl.VerifyFlags(value)
        except ValueError:
            raise BadValueError("must be names or numbers of ssl.VerifyFlags") from None
    names = value.split("|") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names:
        raise BadValueError("must be names of ssl.VerifyFlags, joined by |")
    flags = ssl.VerifyFlags(0)
    for name in names:
        if not isinstance(name, str) or name.strip().upper() not in ssl.VerifyFlags.__members__:
            raise BadValueError(f"must be of {', '.join(ssl.VerifyFlags.__members__)}")
        flags |= ssl.VerifyFlags[name.strip().upper()]
    return flags


# -- logs


class _AnyAtom(dict[str, Any]):
    """Stands for the atoms of a request in a trial of a format: 0 goes with %s and with %d."""

    def __missing__(self, key: str) -> int:
        return 0


def access_format(value: object) -> str:
    """Return an access log format, tried once so that a slip does not fail on every request."""
    result = filled(value)
    try:
        result % _AnyAtom()
    except (ValueError, TypeError, OverflowError) as error:
        raise BadValueError(f"must be a format of atoms such as %(h)s ({error})") from None
    return result


def log_level(value: object) -> str:
    """Return the name of a level, upper case, for a name or a number. The app's own levels count."""
    import logging

    levels = logging.getLevelNamesMapping()
    if isinstance(value, str) and value.strip().upper() in levels:
        return value.strip().upper()
    if isinstance(value, int) and not isinstance(value, bool) and value in levels.values():
        return logging.getLevelName(value)
    names = sorted((name for name in levels if name not in ("NOTSET", "WARN", "FATAL")), key=lambda name: levels[name])
    raise BadValueError(f"must be {', '.join(names).lower()}")


def statsd_host(value: object) -> str:
    """Return "host:port" of a statsd server."""
    wanted = "must be the host:port of a statsd server, such as 127.0.0.1:8125"
    if not isinstance(value, str) or ":" not in value or value.endswith(":"):
        raise BadValueError(wanted)
    try:
        return join_host_port(*_host_and_port(value.strip()))
    except BadValueError:
        raise BadValueError(wanted) from None


def logging_dict(value: object) -> object:
    """Return a mapping for logging.config.dictConfig."""
    if not isinstance(value, Mapping):
        raise BadValueError("must be a mapping for logging.config.dictConfig")
    return value


def logger_class(value: object) -> object:
    """Return a class that Hypercorn builds its logger from."""
    if not isinstance(value, type):
        raise BadValueError("must be a class derived from hypercorn.logging.Logger")
    return value


# -- dashboard


def admin_address(value: object) -> str:
    """Return host:port or unix:path of the dashboard, in its full spelling."""
    given = text(value)
    # An abstract socket (unix:@name) belongs to nobody: any user of the machine may connect.
    if given.startswith(("unix:@", "fd:")) or ":" not in given:
        raise BadValueError("must be host:port, such as 127.0.0.1:9000, or unix:/path/of/a/socket")
    return address(given)


def file_mode(value: object) -> int:
    """Return the mode of a file, 0 to 0o777. A text is octal, as chmod has it."""
    number: object = value
    if isinstance(value, str):
        octal = re.fullmatch(r"(?:0o)?([0-7]{1,4})", value.strip())
        number = int(octal[1], 8) if octal else None
    try:
        return int(str(whole(0, 0o777)(number)))
    except BadValueError:
        raise BadValueError("must be a mode from 0 to 0777, in octal, such as 0660") from None


def is_loopback(bind: str) -> bool:
    """Tell whether only this machine can reach an address as admin_address() writes it."""
    import ipaddress

    parts = split_host_port(bind)
    if parts is None or parts[0] == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts[0]).is_loopback
    except ValueError:
        return False


def token(value: object) -> str:
    """Return a secret that fits into a header."""
    result = text(value)
    if not re.fullmatch(r"[!-~]{8,200}", result):
        raise BadValueError("must be 8 to 200 visible ASCII characters without spaces", echo=False)
    return result


# -- control


def control(value: object) -> str:
    """Return "auto", "off" or the path of the control socket."""
    result = filled(value)
    return result.lower() if result.lower() in ("auto", "off") else _unix_path(result)


def proctitle(value: object) -> str:
    """Return "auto", "off" or the name of the program in process titles."""
    if isinstance(value, bool):
        return "auto" if value else "off"
    result = filled(value)
    return result.lower() if result.lower() in ("auto", "off") else result


def config_file(value: object) -> object:
    """Return where to load a configuration from: "path.toml", "file:path.py", "python:module", or an object.

    Whether the object is a Config gets looked at on loading, since that needs Hypercorn.
    """
    if isinstance(value, str | os.PathLike):
        result = filled(value)
        if result in ("python:", "file:"):
            raise BadValueError("must name a module or a file after its colon")
        return result
    if value is None or isinstance(value, bool | int | float | bytes | list | tuple):
        raise BadValueError("must be a path, python:module, file:path or a hypercorn.Config")
    return value
