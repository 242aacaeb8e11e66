"""TLS sessions are resumed by every worker, also of later generations; not with another certificate."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from pathlib import Path

import pytest

from aeros.core.net.tickets import can_share
from tests.conftest import Serve
from tests.helpers.authority import Authority, replace
from tests.helpers.conditions import eventually
from tests.helpers.serverproc import ServerProcess
from tests.integration.test_upgrade import upgrade

pytestmark = pytest.mark.skipif(not can_share(), reason="this Python hides OpenSSL")


class Client:
    """Connects again and again with the newest session it has."""

    def __init__(self, server: ServerProcess, context: ssl.SSLContext) -> None:
        self._server = server
        self._context = context
        self._session: ssl.SSLSession | None = None
        self.pids: set[int] = set()

    def connect(self) -> bool:
        """Ask for the pid on a new connection; return whether the session was resumed."""
        with (
            socket.create_connection(self._server.address, timeout=10) as plain,
            self._context.wrap_socket(plain, server_hostname="localhost", session=self._session) as line,
        ):
            line.sendall(b"GET /pid HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b""
            while part := line.recv(65536):
                answer += part
            self.pids.add(int(answer.rpartition(b"\r\n\r\n")[2]))
            self._session = line.session
            return bool(line.session_reused)

    def resumed(self, times: int) -> int:
        return sum(self.connect() for _ in range(times))


APP = """
import os, sys
from aeros import WebServer
app = WebServer(__name__)

@app.get("/pid")
async def pid():
    return str(os.getpid())

app.start(sys.argv[1:])
"""


@pytest.mark.parametrize(("load", "version"), [("auto", ssl.TLSVersion.TLSv1_3), ("worker", ssl.TLSVersion.TLSv1_2)])
def test_every_worker_resumes_sessions_of_all_others(
    serve: Serve, tmp_path: Path, load: str, version: ssl.TLSVersion
) -> None:
    authority = Authority(tmp_path)
    pair = authority.pair("live", "localhost")
    server = serve(APP, "-w", "3", "--load", load, "--certfile", str(pair[0]), "--keyfile", str(pair[1])).ready(3)
    context = authority.context()
    context.maximum_version = version
    client = Client(server, context)
    assert not client.connect()

    def met_all() -> bool:
        assert client.connect()
        return len(client.pids) == 3

    eventually(met_all, 20, "connections to all three workers", pause_s=0)
    victim = server.workers()[0].pid
    server.expect(f"pid={victim} died: SIGKILL")
    os.kill(victim, signal.SIGKILL)
    server.ready(3)
    assert client.resumed(12) == 12, "after a worker was replaced"
    server.handle().reload(timeout=30)
    client.pids.clear()
    eventually(met_all, 20, "connections to all three new workers", pause_s=0)
    if load == "auto":
        upgrade(server)
        assert client.resumed(12) == 12, "after an upgrade"
    certificate, key, _ = authority.issue("localhost")
    replace(pair[0], certificate)
    replace(pair[1], key)
    server.expect("certificate renewed")
    eventually(lambda: not client.connect(), 10, "a full handshake with the new certificate", pause_s=0)
    assert server.stop() == 0
