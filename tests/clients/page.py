"""docs/clients.md, made of what the clients saw."""

from __future__ import annotations

from pathlib import Path

from .servers import shown_version
from .things import THINGS

Cells = dict[tuple[str, str], dict[str, str]]
"""By client and thing: what happened at each server; "ok", or what went wrong."""

PAGE = Path(__file__).resolve().parents[2] / "docs" / "clients.md"
NOTHING = "-"

_HEAD = """# Clients

What real clients get from {versions}, which serves a Quart app with one worker. Made by
`scripts/clients --page`; nothing here is written by hand. A client does each of {things} things on a connection that it
keeps, with a GET behind it on the same connection. A thing is good when every answer came, and was the right one.

## How many things went wrong
Of those that the client can do.

"""
_WRONG = """
## Each that went wrong somewhere

"""
_MANY = """
## Many requests on kept connections
Requests lost, of so many: GET, HEAD, 204, 304, 404, 500, streams, and uploads that are read and unread, in turn.

"""


def write(cells: Cells, servers: list[str]) -> None:
    head = _HEAD.format(versions=", and from ".join(shown_version(name) for name in servers), things=len(THINGS))
    PAGE.write_text(head + _counts(cells, servers) + _WRONG + _each(cells, servers) + _MANY + _lost(cells, servers))


def _counts(cells: Cells, servers: list[str]) -> str:
    rows = []
    for client in dict.fromkeys(client for client, _ in cells if client != "many"):
        mine = [found for (name, _), found in cells.items() if name == client]
        rows.append([client, str(len(mine)), *(_wrong(mine, server) for server in servers)])
    return _table(["client", "things", *servers], rows)


def _wrong(found: list[dict[str, str]], server: str) -> str:
    results = [one[server] for one in found if server in one]
    return str(sum(result != "ok" for result in results)) if results else NOTHING


def _each(cells: Cells, servers: list[str]) -> str:
    rows = []
    for (client, thing), found in cells.items():
        if client != "many" and any(result != "ok" for result in found.values()):
            rows.append([f"{client}: {thing}", *(_short(found.get(server)) for server in servers)])
    return _table(["client: thing", *servers], rows)


def _lost(cells: Cells, servers: list[str]) -> str:
    many = [(client, found) for (kind, client), found in cells.items() if kind == "many"]
    return _table(["client", *servers], [[name, *(_short(found.get(s)) for s in servers)] for name, found in many])


def _short(result: str | None) -> str:
    return NOTHING if result is None else result.replace("|", "\\|")[:90]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
