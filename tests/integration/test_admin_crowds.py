"""The dashboard and clients that want too much of it: watchers that do not read, odd commands, slow ones."""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any

import pytest

from aeros.dashboard import watchers
from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually
from tests.helpers.http import Connection, address_of, get
from tests.helpers.serverproc import ServerProcess
from tests.integration.test_admin import BEARER, TOKEN, WRITE, dashboard_pid, up

Place = tuple[str, int]


def place_of(server: ServerProcess) -> Place:
    found = address_of(server.status().admin)
    assert not isinstance(found, str)
    return found


def ask_raw(place: Place, request: bytes, peer: str = "127.0.0.1") -> socket.socket:
    """A connection from one of loopback's addresses that has asked and reads nothing yet."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.bind((peer, 0))
    client.settimeout(10)
    client.connect(place)
    client.sendall(request)
    return client


def watch(place: Place, peer: str = "127.0.0.1") -> tuple[int, socket.socket]:
    """The status of /events, and the connection."""
    client = ask_raw(place, b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n", peer)
    return int(client.recv(13).split()[1]), client


def lets_in(place: Place, peer: str = "127.0.0.1") -> bool:
    status, client = watch(place, peer)
    client.close()
    return status == 200


def test_watchers_that_do_not_read_lose_their_places(serve: Serve) -> None:
    server = up(serve("full", "-w", "2", "--admin", "127.0.0.1:0").ready(2))
    place = place_of(server)
    with ExitStack() as stack:
        begun = time.monotonic()
        statuses = []
        for _ in range(watchers.MOST_OF_ONE + 4):
            status, client = watch(place)
            stack.enter_context(client)
            statuses.append(status)
        took_s = time.monotonic() - begun
        if took_s < 4:  # else the first have made way already
            assert statuses == [200] * watchers.MOST_OF_ONE + [503] * 4
        assert lets_in(place, "127.0.0.2"), "another address has places of its own"
        eventually(lambda: lets_in(place), 15, "a place at the same address")


def test_all_places_together_are_bounded_and_make_way(serve: Serve) -> None:
    server = up(serve("full", "-w", "1", "--admin", "127.0.0.1:0").ready(1))
    place = place_of(server)
    with ExitStack() as stack:
        begun = time.monotonic()
        statuses = []
        for number in range(watchers.MOST + 2):
            status, client = watch(place, f"127.0.1.{1 + number // 8}")
            stack.enter_context(client)
            statuses.append(status)
        if time.monotonic() - begun < 4:
            assert statuses == [200] * watchers.MOST + [503] * 2
        eventually(lambda: lets_in(place, "127.0.0.2"), 15, "a place for another address")


def test_a_watcher_with_a_second_event_unsent_is_closed(serve: Serve) -> None:
    server = up(serve("full", "-w", "2", "--admin", "127.0.0.1:0").ready(2))
    place = place_of(server)
    pid = dashboard_pid(server)
    assert pid
    before = len(proc.open_fds(pid))
    status, client = watch(place)
    assert status == 200
    with client:
        # What fits into the two kernels' buffers, here some 40 KiB, is out of the server's sight.
        eventually(lambda: len(proc.open_fds(pid)) > before, 5, "it is counted")
        eventually(lambda: len(proc.open_fds(pid)) <= before, 60, "it is let go")


def test_one_that_reads_goes_on(serve: Serve) -> None:
    server = up(serve("full", "-w", "1", "--admin", "127.0.0.1:0").ready(1))
    with Connection(place_of(server)) as page:
        page.send(page.head("GET", "/events"))
        with page.socket.makefile("rb") as lines:
            events = list(islice((line for line in lines if line.startswith(b"event: ")), 9))
    assert events == [b"event: hello\n"] + [b"event: now\n"] * 8


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /metrics HTTP/1.1\r\nHost: loc",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\n"
        b"Authorization: Bearer " + TOKEN.encode() + b"\r\nContent-Length: 9\r\n\r\n{",
    ],
)
def test_what_begins_and_does_not_go_on_is_closed_in_seconds(serve: Serve, beginning: bytes) -> None:
    server = up(serve("full", *WRITE, env={"AEROS_ADMIN_TOKEN": TOKEN}).ready(1))
    begun = time.monotonic()
    with ask_raw(place_of(server), beginning) as client:
        client.settimeout(30)
        while client.recv(4096):
            pass
    assert time.monotonic() - begun < 15


def test_who_does_not_read_a_page_is_dropped_in_seconds(serve: Serve) -> None:
    server = up(serve("full", "-w", "1", "--admin", "127.0.0.1:0").ready(1))
    pid = dashboard_pid(server)
    assert pid
    before = len(proc.open_fds(pid))
    with ask_raw(place_of(server), b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200):
        eventually(lambda: len(proc.open_fds(pid)) > before, 5, "it is connected")
        eventually(lambda: len(proc.open_fds(pid)) <= before, 20, "it is dropped")


def test_one_address_has_a_part_of_the_connections(serve: Serve) -> None:
    server = up(serve("full", "-w", "1", "--admin", "127.0.0.1:0").ready(1))
    place = place_of(server)
    half = b"GET /metrics HTTP/1.1\r\nHost: loc"
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(ask_raw(place, half))
        with ask_raw(place, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "127.0.0.2") as other:
            assert other.recv(13).split()[1] == b"200"
        eventually(lambda: answers(place), 15, "the same address, seconds later")


def answers(place: Place) -> bool:
    try:
        return get(place, "/metrics").status == 200
    except Exception:
        return False


# -- odd commands

ODD: list[tuple[str, bytes]] = [
    ("deep list", b"[" * 100_000),
    ("deep object", b'{"a":' * 3000 + b"1" + b"}" * 3000),
    ("deep value", b'{"workers":' + b"[" * 70_000 + b"]" * 70_000 + b"}"),
    ("no body", b""),
    ("no JSON", b"workers=2"),
    ("a list", b"[2]"),
    ("a number", b"2"),
    ("null", b"null"),
    ("a text", b'{"workers": "2", "slot": "2"}'),
    ("a fraction", b'{"workers": 2.0, "slot": 2.0}'),
    ("true", b'{"workers": true, "slot": true}'),
    ("a list in it", b'{"workers": [2], "slot": [2]}'),
    ("NaN", b'{"workers": NaN, "slot": NaN}'),
    ("Infinity", b'{"workers": Infinity, "slot": -Infinity}'),
    ("1e400", b'{"workers": 1e400, "slot": 1e400}'),
    ("huge", b'{"workers": %s}' % (b"9" * 4000)),
    ("huger", b'{"slot": %s}' % (b"9" * 9000)),
    ("64 bits", b'{"workers": 18446744073709551616}'),
    ("negative", b'{"workers": -1}'),
    ("zero", b'{"workers": 0}'),
    ("no such slot", b'{"slot": 77}'),
    ("a negative slot", b'{"slot": -1}'),
    ("not UTF-8", b'{"workers": 2, "x": "\xff\xfe"}'),
    ("UTF-16", '{"workers": 2}'.encode("utf-16")),
    ("a BOM", b'\xef\xbb\xbf{"workers": 2}'),
    ("twice", b'{"workers": 2, "workers": 3, "slot": 0, "slot": 0}'),
    ("unknown", b'{"worker": 2}'),
    ("more", b'{"workers": 2, "slot": 0}'),
    ("a lone surrogate", b'{"workers": 2, "\\ud800": 1}'),
    ("NUL", b'{"workers": 2}\x00'),
    ("two", b'{"workers": 2}{}'),
]


@contextmanager
def steering(serve: Serve) -> Iterator[tuple[ServerProcess, Connection]]:
    server = up(serve("full", *WRITE, env={"AEROS_ADMIN_TOKEN": TOKEN}).ready(1))
    with Connection(place_of(server)) as client:
        yield server, client


def test_an_odd_command_is_refused_and_does_nothing(serve: Serve) -> None:
    with steering(serve) as (server, client):
        (pid,) = server.ready_pids()
        for name, body in ODD:
            for path in ("/scale", "/restart"):
                answer = client.request("POST", path, body, headers=BEARER)
                assert answer.status == 400, (name, path, answer.body)
                assert answer.json()["why"], name
        assert client.request("POST", "/reload", b"[" * 8000, headers=BEARER).status == 400
        assert client.request("POST", "/reload", b'{"x": 1}', headers=BEARER).status == 400
        status = server.status()
        assert (status.target_workers, status.generation, server.ready_pids()) == (1, 1, {pid})


def test_a_command_that_is_too_long_is_refused(serve: Serve) -> None:
    with steering(serve) as (server, client):
        answer = client.request("POST", "/scale", b'{"workers": 1}' + b" " * (1 << 20), headers=BEARER)
        assert answer.status == 413
        with Connection(place_of(server)) as other:
            chunks = b"".join(b"10000\r\n" + b" " * 65536 + b"\r\n" for _ in range(17)) + b"0\r\n\r\n"
            other.send(other.head("PUT", "/", headers=BEARER).replace(b"PUT / ", b"POST /scale ")[:-2])
            other.send(b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
            assert other.read_answer().status == 413


ODD_HEADERS = [
    {"Accept": "application/openmetrics-text; version=9.9.9; escaping=x"},
    {"Accept": "application/openmetrics-text; version=;;=,"},
    {"Accept": "\u00e4;q=x, */*;q=nan"},
    {"Authorization": "Bearer \u00e4"},
    {"Authorization": "Basic Og=="},
    {"Origin": "http://["},
    {"Cookie": "=;;\u00e4"},
    {"X-Forwarded-For": "1", "Range": "bytes=a-"},
]


def test_odd_headers_are_no_error(serve: Serve) -> None:
    server = up(serve("full", "-w", "1", "--admin", "127.0.0.1:0").ready(1))
    paths = ("/", "/metrics", "/status.json", "/events", "/page.js", "/nothing", "/readyz")
    for headers, path in itertools.product(ODD_HEADERS, paths):
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin1")
        with ask_raw(place_of(server), f"GET {path} HTTP/1.1\r\nHost: localhost\r\n".encode() + lines + b"\r\n") as one:
            assert one.recv(13).split()[1] in (b"200", b"400", b"401", b"403", b"404"), (headers, path)


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://evil.example/status.json", "localhost", b"403"),
        ("http://localhost/status.json", "evil.example", b"200"),
    ],
)
def test_the_host_of_an_absolute_target_is_the_one(serve: Serve, target: str, host: str, status: bytes) -> None:
    server = up(serve("full", "-w", "1", "--admin", "127.0.0.1:0").ready(1))
    with ask_raw(place_of(server), f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()) as client:
        assert client.recv(13).split()[1] == status


def test_a_session_is_told_as_json(serve: Serve) -> None:
    with steering(serve) as (_, client):
        said: dict[str, Any] = json.loads(client.request("POST", "/login", headers=BEARER).body)
        assert said["ok"]
