"""Names a server answers to, compared as RFC 9110 has it."""

from __future__ import annotations


class HostNames(list[str]):
    """A list whose `in` is about hosts, whoever asks it: the lane or Hypercorn.

    Case does not count (section 4.2.3), nor the dot of a full name. A port counts only where the name was given with
    one: clients send it where it is not the scheme's own.
    """

    def __contains__(self, host: object) -> bool:
        name, port = _parts(str(host))
        return any(known == name and wanted in ("", port) for known, wanted in map(_parts, self))


def _parts(host: str) -> tuple[str, str]:
    """Return name and port of "Example.org:8000", "example.org.", "[::1]:8000"; "" for no port."""
    name, colon, port = host.lower().rpartition(":")
    if not colon or not (port.isdecimal() or not port):
        name, port = host.lower(), ""
    return name.removesuffix("."), port
