"""Ask four servers what real clients ask, and say where somebody's answer is lost: scripts/clients [--help]

Every client does every thing that it can (things.py) at each server, with a GET behind it on the same connection. Then
some of them do the mixed things many times over on connections that they keep. The page docs/clients.md is made of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

from tests.helpers.balancers import haproxy, nginx
from tests.helpers.tls import make_certificate

from . import ends, libraries, programs
from .page import Cells, write
from .servers import NAMES, Running, running
from .things import MIXED, THINGS, Answer, Request, Thing

Address = tuple[str, int]
Ask = Callable[[Address, list[Request]], list[Answer]]
APP = "tests.clients.app:app"

PLAIN: dict[str, Ask] = {
    "http.client": libraries.http_client,
    "requests": libraries.requests_,
    "urllib3": libraries.urllib3_,
    "httpx": libraries.httpx_,
    "aiohttp": libraries.aiohttp_,
    "curl": programs.curl,
    "wget": programs.wget,
    "Node http": programs.node_http,
    "Node fetch": programs.node_fetch,
}
OVER_TLS: dict[str, Ask] = {
    "httpx, HTTP/2": libraries.httpx_h2,
    "curl, HTTP/2": programs.curl_h2,
    "nghttp, HTTP/2": programs.nghttp,
    "Node http2": programs.node_http2,
}
PROXIES = {
    "behind nginx": nginx,
    "behind HAProxy": lambda first, second: haproxy(
        first, second, changes={"option http-server-close": "http-reuse always"}
    ),
}
MANY = ("http.client", "requests", "httpx", "aiohttp", "Node http")


def tried(ask: Ask, address: Address, thing: Thing) -> str | None:
    """Return "ok", what went wrong, or None where the client cannot do such a thing."""
    try:
        found = ask(address, list(thing.requests))
    except NotImplementedError:
        return None
    except Exception as error:
        return f"{type(error).__name__}: {error}".replace("\n", " ")[:160]
    for number, (got, wanted) in enumerate(zip(found, thing.answers, strict=True)):
        # Not every client shows a body; and what a 404 says is the app's affair.
        if got.status != wanted.status or (got.body and wanted.status < 400 and got.body != wanted.body):
            what = "the GET behind it" if number == len(found) - 1 else "answer"
            return f"{what}: {got.status} {str(got.body)[:40]!r} for {wanted.status}"
    return "ok"


def matrix(server: Running, clients: dict[str, Ask], cells: Cells) -> None:
    for name, ask in clients.items():
        for thing in THINGS:
            result = tried(ask, server.address, thing)
            if result is not None:
                cells.setdefault((name, thing.name), {})[server.name] = result
        print(f"{server.name}: {name}", file=sys.stderr)


@contextmanager
def in_front(server: Running) -> Iterator[dict[str, Address]]:
    bind = f"127.0.0.1:{server.port}"
    # The balancers print their logs at the end.
    with redirect_stdout(StringIO()), ExitStack() as stack:
        yield {name: stack.enter_context(make(bind, bind)).address for name, make in PROXIES.items()}


def many(server: Running, times: int, cells: Cells) -> None:
    """Each client asks about `times` requests, on connections that it keeps for one round of the mixed things."""
    with in_front(server) as proxies:
        places = {name: (PLAIN[name], server.address) for name in MANY}
        places |= {f"http.client {name}": (libraries.http_client, address) for name, address in proxies.items()}
        for name, (ask, address) in places.items():
            asked, lost = _rounds(ask, address, times)
            cells.setdefault(("many", name), {})[server.name] = f"{lost} of {asked}"
            print(f"{server.name}: {name}: {lost} of {asked} lost", file=sys.stderr)


def _rounds(ask: Ask, address: Address, times: int) -> tuple[int, int]:
    """Return how many requests were asked and how many lost. Rounds go on where one has failed."""
    requests = [request for thing in MIXED for request in thing.requests]
    wanted = [answer for thing in MIXED for answer in thing.answers]
    rounds = max(1, times // (len(requests) * 10))

    def once(_: int) -> int:
        try:
            found = ask(address, requests * 10)
        except Exception:
            return _one_by_one(ask, address)
        return sum(got.status != good.status for got, good in zip(found, wanted * 10, strict=True))

    with ThreadPoolExecutor(2) as pool:
        return rounds * len(requests) * 10, sum(pool.map(once, range(rounds)))


def _one_by_one(ask: Ask, address: Address) -> int:
    """A client gives up at its first failure: count by thing what the whole round would have lost."""
    lost = 0
    for thing in MIXED * 10:
        lost += tried(ask, address, thing) != "ok"
    return lost


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/clients", description=__doc__)
    parser.add_argument("--servers", default=",".join(NAMES), help="comma-separated")
    parser.add_argument("--times", type=int, default=1000, help="requests of each row that counts what is lost")
    parser.add_argument("--client", help="only this one, and no page")
    parser.add_argument("--page", action="store_true", help="write docs/clients.md")
    given = parser.parse_args()
    cells: Cells = {}
    done: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        pair = make_certificate(Path(folder))
        for name in given.servers.split(","):
            one_server(name, pair, given.client, given.times, cells)
            done.append(name)
            if given.page and not given.client:
                write(cells, done)
    for (client, thing), results in cells.items():
        if any(result != "ok" for result in results.values()):
            print(f"{client}, {thing}: {json.dumps(results)}")
    return 0


def one_server(name: str, pair: tuple[Path, Path], client: str | None, times: int, cells: Cells) -> None:
    with running(name, APP) as server:
        matrix(server, {one: ask for one, ask in PLAIN.items() if client in (None, one)}, cells)
        if client is None:
            _front(server, cells)
            many(server, times, cells)
    with running(name, APP, pair) as server:
        matrix(server, {one: ask for one, ask in OVER_TLS.items() if client in (None, one)}, cells)
    if client is None:
        ends.tried(name, APP, cells)


def _front(server: Running, cells: Cells) -> None:
    with in_front(server) as proxies:
        for name, address in proxies.items():
            for thing in THINGS:
                result = tried(libraries.http_client, address, thing)
                if result is not None:
                    cells.setdefault((f"http.client {name}", thing.name), {})[server.name] = result
    websocket = _websocket(server.address)
    cells.setdefault(("websockets", "100 messages, text and binary, and a close"), {})[server.name] = websocket


def _websocket(address: Address) -> str:
    messages: list[str | bytes] = ["text", b"bytes", "x" * 100_000, bytes(1 << 20)] * 25
    try:
        return "ok" if libraries.websockets_(address, messages) == messages else "other messages came back"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:160]


if __name__ == "__main__":
    raise SystemExit(main())
