"""Upgrades of a server that speaks TLS, under load of HTTP/1.1 and HTTP/2: no request is lost, no connection cut."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.apps import deploy
from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.authority import Authority, replace
from tests.helpers.conditions import eventually
from tests.helpers.h2client import H2Connection
from tests.helpers.http import Answer, Connection, ExchangeError, ResetUnanswered
from tests.helpers.load import Client, KeepAliveGet, KeepAlivePost, Load, NewConnectionGet
from tests.integration.test_upgrade import counted, upgrade

HOSTS = ("localhost", "127.0.0.1")
#: Streams that the HTTP/2 client has open at a time.
STREAMS = 3


def clients(authority: Authority) -> list[type[Client]]:
    context, h2_context = authority.context(), authority.context("h2")

    def connect(self: Client) -> Connection:
        self.connections += 1
        try:
            return Connection(self.address, self.timeout_s, context)
        except OSError as error:  # while TLS is set up
            raise ResetUnanswered(str(error)) from error

    class Streams(Client):
        """Streams over one connection for as long as the server keeps it, three at a time."""

        label = "h2"
        _connection: H2Connection | None = None

        def exchange(self) -> Answer:
            connection = self._connection
            if connection is not None:
                connection.pump(0.001)
                if connection.ended or connection.goaway is not None:
                    self.finish()
            if self._connection is None:
                self.connections += 1
                try:
                    self._connection = H2Connection(self.address, h2_context, self.timeout_s)
                except OSError as error:
                    raise ResetUnanswered(str(error)) from error
            connection = self._connection
            begun, paths = time.monotonic(), ("/", "/slow?s=0.1", "/")
            streams = [connection.begin(path) for path in paths]
            answers = []
            for stream, path in zip(streams, paths, strict=True):
                try:
                    answers.append(connection.finish(stream))
                except ExchangeError:
                    if connection.goaway is None or stream <= connection.goaway.last_stream:
                        raise
                    # RFC 9113 section 6.8: certainly not processed, so it may be sent anew.
                    self.finish()
                    self._connection = connection = H2Connection(self.address, h2_context, self.timeout_s)
                    answers.append(connection.get(path))
            for answer in answers[1:]:
                self.judge(begun, answer)
            return answers[0]

        def finish(self) -> None:
            if self._connection is not None:
                self._connection.socket.close()
                self._connection = None

    kinds: list[type[Client]] = [Streams, Streams]
    for kind in (KeepAliveGet, KeepAlivePost, NewConnectionGet):
        kinds.append(type(f"Tls{kind.__name__}", (kind,), {"connect": connect}))
    return kinds


@pytest.mark.parametrize(
    "upgrades",
    [
        pytest.param(3, marks=pytest.mark.limit_s(240)),
        pytest.param(20, marks=[pytest.mark.slow, pytest.mark.limit_s(900)]),
    ],
)
def test_upgrades_over_tls_lose_nothing(serve: Serve, tmp_path: Path, upgrades: int) -> None:
    authority = Authority(tmp_path)
    pair = authority.pair("live", *HOSTS)
    server = serve("full", "-w", "2", "--certfile", str(pair[0]), "--keyfile", str(pair[1])).ready(2)
    with Load(server.address, clients(authority), pause_s=0.002) as tally:
        eventually(lambda: {record.client for record in tally.records} >= {"h2", "keep-alive", "post"}, 20, "load")
        for number in range(2, upgrades + 2):
            if number % 2:  # the next one reads the files anew
                certificate, key, _ = authority.issue(*HOSTS)
                replace(pair[0], certificate)
                replace(pair[1], key)
            deploy(tmp_path / "app.py", version=f"v{number}")
            old = server.pid
            upgrade(server, "signal" if number % 2 else "command")
            eventually(lambda old=old: not proc.alive(old), 20, "the end of the old one")
            at = time.monotonic()
            eventually(
                lambda since=at: {one.client for one in tally.records if one.begun > since} >= {"h2", "post"},
                20,
                "requests of both kinds after the upgrade",
            )
            assert tally.versions(at) == {f"v{number}"}
    print(f"{len(tally.records)} requests, {len(tally.failures)} failed, slowest {tally.slowest_s():.3f} s")
    print(tally.summary())
    tally.assert_nothing_failed(at_least=100)
    eventually(lambda: counted(server)[0] == tally.ok, 5, f"{tally.ok} requests in the totals, not {counted(server)}")
    assert server.stop() == 0
