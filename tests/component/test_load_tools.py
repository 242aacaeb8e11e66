"""The load clients against servers that misbehave on purpose: each failure is counted as what it is."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.helpers.conditions import eventually
from tests.helpers.http import Address
from tests.helpers.load import Client, KeepAliveGet, NewConnectionGet, Outcome, SlowUpload, Tally

GOOD = json.dumps({"pid": 1, "generation": 1, "version": "v1"}).encode()


def response(body: bytes = GOOD, status: str = "200 OK", connection: str = "keep-alive") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: {connection}\r\n\r\n".encode() + body


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@contextmanager
def toy_server(handle: Callable[[socket.socket], None]) -> Iterator[Address]:
    """Hands each accepted connection to `handle`, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                try:
                    client, _ = listener.accept()
                except TimeoutError:
                    continue
                with client:
                    client.settimeout(5)
                    try:
                        handle(client)
                    except OSError:
                        continue

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[:2]
        finally:
            over.set()
            thread.join(10)


def once(make: type[Client], address: Address, timeout_s: float = 2.0, times: int = 1) -> Tally:
    tally = Tally()
    client = make(address, tally, 0.0, timeout_s)
    for _ in range(times):
        client.once()
    client.finish()
    return tally


def outcome(make: type[Client], address: Address, timeout_s: float = 2.0) -> Outcome:
    (record,) = once(make, address, timeout_s).records
    return record.outcome


def test_a_good_answer_is_ok_and_names_who_answered() -> None:
    def good(client: socket.socket) -> None:
        client.recv(65536)
        client.sendall(response())

    with toy_server(good) as address:
        tally = once(NewConnectionGet, address)
    assert tally.ok == 1
    assert tally.pids() == {1}
    tally.assert_nothing_failed()


def test_nobody_listening_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()[:2]
    assert outcome(NewConnectionGet, address) is Outcome.REFUSED


@pytest.mark.parametrize("client", [NewConnectionGet, KeepAliveGet, SlowUpload])
def test_a_reset_before_any_answer_is_a_reset(client: type[Client]) -> None:
    def cut(connection: socket.socket) -> None:
        connection.recv(65536)
        reset(connection)

    with toy_server(cut) as address:
        assert outcome(client, address) is Outcome.RESET


def test_an_orderly_close_instead_of_an_answer_is_a_reset_too() -> None:
    with toy_server(lambda connection: connection.recv(65536) and None) as address:
        assert outcome(KeepAliveGet, address) is Outcome.RESET


def test_half_an_answer_is_truncated() -> None:
    def half(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(response()[:-5])

    with toy_server(half) as address:
        assert outcome(NewConnectionGet, address) is Outcome.TRUNCATED


def test_silence_is_a_timeout() -> None:
    def silent(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.recv(65536)  # until the client gives up

    with toy_server(silent) as address:
        assert outcome(NewConnectionGet, address, timeout_s=0.2) is Outcome.TIMEOUT


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (response(b"{}"), Outcome.WRONG_BODY),
        (response(b"not json"), Outcome.WRONG_BODY),
        (response(status="503 Service Unavailable"), Outcome.BAD_STATUS),
    ],
)
def test_wrong_answers_are_told_apart(answer: bytes, wanted: Outcome) -> None:
    def wrong(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    with toy_server(wrong) as address:
        assert outcome(NewConnectionGet, address) is wanted


def test_keep_alive_honours_connection_close_without_an_error() -> None:
    accepted = []

    def closing(connection: socket.socket) -> None:
        accepted.append(connection)
        connection.recv(65536)
        connection.sendall(response(connection="close"))

    with toy_server(closing) as address:
        tally = once(KeepAliveGet, address, times=3)
    assert len(accepted) == 3
    tally.assert_nothing_failed(at_least=3)


def test_keep_alive_reconnects_when_an_idle_connection_was_closed() -> None:
    accepted = []

    def closing_quietly(connection: socket.socket) -> None:
        accepted.append(connection)
        connection.recv(65536)
        connection.sendall(response())

    with toy_server(closing_quietly) as address:
        tally = Tally()
        client = KeepAliveGet(address, tally, 0.0, 2.0)
        client.once()
        connection = client._connection
        assert connection is not None
        eventually(connection.idle_closed, 5)
        client.once()
        client.finish()
    assert len(accepted) == 2
    tally.assert_nothing_failed(at_least=2)


def test_an_upload_answered_with_another_digest_is_wrong() -> None:
    body = json.dumps({"pid": 1, "generation": 1, "version": "v1", "digest": "0"}).encode()

    def swallow(connection: socket.socket) -> None:
        got = b""
        while len(got) < 16384:
            got += connection.recv(65536)
        connection.sendall(response(body))
        connection.recv(65536)

    with toy_server(swallow) as address:
        assert outcome(SlowUpload, address) is Outcome.WRONG_BODY
