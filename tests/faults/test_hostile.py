"""Clients that mean harm. In each case: the worker is the same one afterwards, its memory stays within a stated bound,
and a well-behaved client is served all the while."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import statistics
import struct
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import h2.config
import h2.connection
import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    SettingsFrame,
)

from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually
from tests.helpers.figures import Report
from tests.helpers.http import Connection
from tests.helpers.load import Load, NewConnectionGet
from tests.helpers.serverproc import ServerProcess
from tests.helpers.tls import client_context, make_certificate

MIB = 1 << 20
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /upload HTTP/1.1\r\nHost: a\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@contextlib.contextmanager
def siege(server: ServerProcess, report: Report, grows_by: int) -> Iterator[None]:
    """Measure a polite client and the worker's memory around an attack. grows_by: bytes its memory may grow."""
    assert not isinstance(server.address, str)
    pids = server.ready_pids()
    (pid,) = pids
    server.get()
    before = proc.rss_bytes(pid)
    with Load(server.address, [NewConnectionGet]) as tally:
        eventually(lambda: tally.ok > 3, 10.0)
        begun = time.monotonic()
        yield
        eventually(lambda: any(record.begun > begun for record in tally.records), 10.0)
        grown = proc.rss_bytes(pid) - before
    tally.assert_nothing_failed()
    times = sorted(record.ended - record.begun for record in tally.records if record.ended > begun)
    report.note(f"memory {grown / MIB:+.1f} MiB (bound {grows_by / MIB:g})")
    report.note(f"polite client p50 {statistics.median(times) * 1000:.0f} ms, slowest {times[-1] * 1000:.0f} ms")
    assert server.ready_pids() == pids
    assert grown < grows_by


def connect(server: ServerProcess, buffer: int | None = None) -> socket.socket:
    assert not isinstance(server.address, str)
    if buffer is None:
        return socket.create_connection(server.address, 10)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(10)
    sock.connect(server.address)
    return sock


def closed(sock: socket.socket) -> bool:
    """Whether the server has ended the connection; what it sent before is read away."""
    sock.settimeout(0)
    try:
        while sock.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def push(sock: socket.socket, data: bytes, deadline_s: float = 20.0, quiet_s: float = 2.0) -> bytes:
    """Send as much as the server takes until it is done, ends the connection or takes no more; what came back."""
    sock.settimeout(0)
    view, received, end, idle = memoryview(data), bytearray(), time.monotonic() + deadline_s, time.monotonic()
    while time.monotonic() < end and time.monotonic() - idle < quiet_s:
        with contextlib.suppress(BlockingIOError):
            try:
                if view:
                    view = view[sock.send(view[: 1 << 18]) :]
                    idle = time.monotonic()
            except ConnectionError:
                view = view[:0]
        try:
            more = sock.recv(1 << 18)
        except BlockingIOError:
            time.sleep(0.001)
            continue
        except ConnectionError:
            break
        if not more:
            break
        received += more
        idle = time.monotonic()
    return bytes(received)


def start(serve: Serve, *args: str) -> ServerProcess:
    # What --http hypercorn leaves open is in docs/http.md.
    return serve("full", "-w", "1", "--http", "lane", *args).ready()


def test_slow_heads(serve: Serve, report: Report) -> None:
    server = start(serve, "--header-timeout", "1s", "--keep-alive", "60s")
    with siege(server, report, 20 * MIB):
        socks = [connect(server) for _ in range(200)]
        begun = time.monotonic()
        left = socks
        for sock in socks:
            sock.sendall(b"GET / HTTP/1.1\r\nX: ")
        while left:
            assert time.monotonic() - begun < 20
            for sock in left:
                with contextlib.suppress(OSError):
                    sock.send(b"x")
            left = [sock for sock in left if not closed(sock)]
        report.note(f"200 slow heads gone after {time.monotonic() - begun:.1f} s (limit 1 s)")
        for sock in socks:
            sock.close()


def test_connections_that_never_send(serve: Serve, report: Report) -> None:
    server = start(serve, "--keep-alive", "1s")
    with siege(server, report, 20 * MIB):
        socks = [connect(server) for _ in range(300)]
        begun = time.monotonic()
        eventually(lambda: all(closed(sock) for sock in socks), 20.0)
        report.note(f"300 silent connections gone after {time.monotonic() - begun:.1f} s (limit 1 s)")
        for sock in socks:
            sock.close()


def test_clients_that_read_nothing(serve: Serve, report: Report) -> None:
    text = "from quart import Quart\nfrom aeros import WebServer\napp = WebServer(__name__)\n"
    text += "import os, sys\n@app.get('/')\nasync def home():\n"
    text += "    return {'pid': os.getpid(), 'generation': 1, 'version': 'v1'}\n"
    text += "DATA = b'x' * 20_000_000\n@app.get('/big')\nasync def big():\n    return DATA\n"
    text += "app.start(sys.argv[1:])\n"
    server = serve(text, "-w", "1", "--http", "lane", "--write-timeout", "1s").ready()
    with siege(server, report, 600 * MIB):
        socks = [connect(server, 4096) for _ in range(20)]
        for sock in socks:
            sock.sendall(GET.replace(b"/ ", b"/big ", 1))
        begun = time.monotonic()
        eventually(lambda: server.status().workers[0].connections >= 20, 10.0)
        # One connection may be the polite client's.
        eventually(lambda: server.status().workers[0].connections <= 1, 20.0)
        report.note(f"20 stalled readers gone after {time.monotonic() - begun:.1f} s (limit 1 s)")
        for sock in socks:
            sock.close()


@pytest.mark.parametrize(
    ("what", "data", "status"),
    [
        ("a URI of 50 MB", b"GET /" + b"x" * 50_000_000, 414),
        ("50 MB of header fields", GET[:-2] + b"X-Name: value\r\n" * 3_500_000, 431),
        ("one header of 50 MB", GET[:-2] + b"X: " + b"v" * 50_000_000, 431),
        ("chunk extensions of 50 MB", POST + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 50_000_000, 400),
        ("trailers of 50 MB", POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 8_000_000, 431),
        ("a body of 50 MB, 1 MB allowed", POST + b"Content-Length: 50000000\r\n\r\n" + b"x" * 50_000_000, 413),
        (
            "a chunked body of 50 MB, 1 MB allowed",
            POST + b"Transfer-Encoding: chunked\r\n\r\n" + (b"8000\r\n" + b"x" * 32768 + b"\r\n") * 1500,
            413,
        ),
    ],
)
def test_floods_in_one_request(serve: Serve, report: Report, what: str, data: bytes, status: int) -> None:
    server = start(serve, "--max-body-size", "1M")
    with siege(server, report, 12 * MIB), connect(server) as sock:
        answer = push(sock, data)
        assert answer.startswith(b"HTTP/1.1 %d " % status) or not answer, answer[:100]
    report.note(f"{what}: {status}" if answer else f"{what}: cut")


@pytest.mark.parametrize("count", [10_000, pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.limit_s(600)])])
def test_pipelined_requests(serve: Serve, report: Report, count: int) -> None:
    server = start(serve, "--keep-alive-max-requests", "2000000")
    with siege(server, report, 20 * MIB), connect(server) as sock:
        begun = time.monotonic()
        last = GET.replace(b"Host: a\r\n", b"Host: a\r\nConnection: close\r\n")
        answer = push(sock, GET * (count - 1) + last, 500.0)
        took = time.monotonic() - begun
        assert answer.count(b"HTTP/1.1 200 ") == count
    report.note(f"{count} pipelined requests answered in {took:.1f} s")


def test_resets(serve: Serve, report: Report) -> None:
    server = start(serve)
    with siege(server, report, 20 * MIB):
        for number in range(3000):
            sock = connect(server)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if number % 3:
                sock.send(GET if number % 3 == 1 else GET[:12])
            sock.close()
    eventually(lambda: server.status().workers[0].connections == 0, 10.0)


def test_more_connections_than_descriptors(serve: Serve, report: Report) -> None:
    server = start(serve, "--keep-alive", "3s")
    server.expect("cannot accept connections for the moment")
    (pid,) = server.ready_pids()
    have = len(proc.open_fds(pid))
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (have + 30, before[1]))
    socks = [connect(server) for _ in range(100)]
    server.wait_log("cannot accept connections for the moment")
    ticks = cpu_s(pid)
    begun = time.monotonic()
    eventually(lambda: time.monotonic() - begun > 1.5, 5.0)
    busy = (cpu_s(pid) - ticks) / (time.monotonic() - begun)
    report.note(f"CPU without descriptors {busy * 100:.0f} %")
    assert busy < 0.3
    for sock in socks:
        sock.close()
    begun = time.monotonic()
    assert server.get(timeout_s=10).status == 200
    report.milliseconds("first answer after they left", time.monotonic() - begun)
    assert server.ready_pids() == {pid}
    assert server.log.count("cannot accept connections for the moment") == 1


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_full_workers_leave_connections_to_others(serve: Serve) -> None:
    server = serve("full", "-w", "2", "--max-connections", "5", "--keep-alive", "60s").ready()
    assert not isinstance(server.address, str)
    held = [Connection(server.address) for _ in range(10)]
    answered = [connection.request("GET", "/").json()["pid"] for connection in held]
    assert sorted(answered.count(pid) for pid in server.ready_pids()) == [5, 5]
    with Connection(server.address) as waiting:
        waiting.send(GET)
        waiting.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            waiting.socket.recv(1)
        held.pop().close()
        waiting.socket.settimeout(10)
        assert waiting.read_answer().status == 200
    for connection in held:
        connection.close()


def test_garbage_instead_of_tls(serve: Serve, report: Report, tmp_path: Path) -> None:
    server, _ = start_tls(serve, tmp_path)
    (pid,) = server.ready_pids()
    server.wait_log("https://")
    before = proc.rss_bytes(pid)
    # Ten at a time, since asyncio's loop has a buffer of 256 KiB for each that is open: what is measured is what stays.
    for first in range(0, 500, 10):
        socks = [connect(server) for _ in range(10)]
        for number, sock in enumerate(socks, first):
            with contextlib.suppress(OSError):
                sock.sendall((os.urandom(200), b"\x16\x03\x01\x40\x00" + os.urandom(100), GET)[number % 3])
                sock.shutdown(socket.SHUT_WR)
        eventually(lambda socks=socks: all(map(closed, socks)), 10.0, pause_s=0.002)
        for sock in socks:
            sock.close()
    eventually(lambda: server.status().workers[0].connections == 0, 10.0)
    grown = proc.rss_bytes(pid) - before
    bound = 10
    report.note(f"memory {grown / MIB:+.1f} MiB (bound {bound})")
    assert grown < bound * MIB and server.ready_pids() == {pid}


def test_tls_renegotiation(serve: Serve, report: Report, tmp_path: Path) -> None:
    """A client of TLS 1.2 that asks for a new handshake gets none, again and again."""
    server, certificate = start_tls(serve, tmp_path)
    assert not isinstance(server.address, str)
    host, port = server.address
    (pid,) = server.ready_pids()
    command = ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_2", "-CAfile", str(certificate)]
    before = proc.rss_bytes(pid)
    times: list[float] = []
    refused = 0
    for _ in range(10):
        clients = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for _ in range(10)
        ]
        for client in clients:
            assert client.stdin is not None
            client.stdin.write(b"R\n")  # s_client's word for it
            client.stdin.flush()
        begun = time.monotonic()
        with Connection(server.address, tls=client_context(certificate)) as polite:
            assert polite.request("GET", "/").status == 200
        times.append(time.monotonic() - begun)
        for client in clients:
            said = client.communicate(timeout=20)[0]
            assert b"Verify return code: 0" in said and b"RENEGOTIATING" in said, said
            refused += b"no renegotiation" in said
    assert refused == 100
    eventually(lambda: server.status().workers[0].connections == 0, 10.0)
    grown = proc.rss_bytes(pid) - before
    report.note(f"{refused} of 100 refused")
    report.note(f"memory {grown / MIB:+.1f} MiB (bound 20)")
    report.note(f"polite client p50 {statistics.median(times) * 1000:.0f} ms, slowest {max(times) * 1000:.0f} ms")
    assert grown < 20 * MIB and server.ready_pids() == {pid}


def start_tls(serve: Serve, tmp_path: Path) -> tuple[ServerProcess, Path]:
    certificate, key = make_certificate(tmp_path)
    return start(serve, "--certfile", str(certificate), "--keyfile", str(key)), certificate


def rapid_reset() -> bytes:
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    client.data_to_send()
    data = bytearray()
    for _ in range(20_000):
        stream = client.get_next_available_stream_id()
        headers = [(":method", "GET"), (":path", "/slow"), (":scheme", "http"), (":authority", "a")]
        client.send_headers(stream, headers, end_stream=True)
        client.reset_stream(stream, 8)
        data += client.data_to_send()
    return bytes(data)


def many(frame: Frame, count: int = 200_000) -> Callable[[], bytes]:
    return lambda: bytes(frame.serialize() * count)


def continuations() -> bytes:
    opening = HeadersFrame(1, data=b"\x82", flags=["END_STREAM"]).serialize()
    return bytes(opening + ContinuationFrame(1, data=b"\x00\x01a\x01b" * 100).serialize() * 20_000)


def hpack_bomb() -> bytes:
    # One entry of 4000 bytes in the table, named 16000 times by one byte each: 64 MB of headers in 16 KB.
    value = b"v" * 4000
    literal = b"\x40\x01a\x7f" + bytes([(4000 - 127) & 0x7F | 0x80, (4000 - 127) >> 7]) + value
    return b"".join(
        HeadersFrame(stream, data=literal + b"\xbe" * 12000, flags=["END_HEADERS", "END_STREAM"]).serialize()
        for stream in range(1, 400, 2)
    )


def open_stream_then(frame: Frame, count: int) -> Callable[[], bytes]:
    head = b"\x82\x86\x84\x41\x01a"
    return lambda: bytes(HeadersFrame(1, data=head, flags=["END_HEADERS"]).serialize() + frame.serialize() * count)


FLOODS = {
    "rapid reset": rapid_reset,
    "PING": many(PingFrame(0, opaque_data=b"12345678")),
    "SETTINGS": many(SettingsFrame(0, settings={3: 100})),
    "PRIORITY": many(PriorityFrame(1, depends_on=0, stream_weight=1)),
    "CONTINUATION": continuations,
    "HPACK bomb": hpack_bomb,
    "empty DATA": open_stream_then(DataFrame(1, data=b""), 200_000),
}


def test_http2_floods(serve: Serve, report: Report) -> None:
    server = start(serve)
    with siege(server, report, 25 * MIB):
        for what, flood in FLOODS.items():
            data = PREFACE + SettingsFrame(0).serialize() + flood()
            with connect(server) as sock:
                begun = time.monotonic()
                push(sock, data)
                eventually(lambda sock=sock: closed(sock), 10.0, f"the end of a flood of {what}")
                report.note(f"{what}: {len(data) / 1e6:.1f} MB, ended after {time.monotonic() - begun:.1f} s")


def test_a_browser_that_leaves_a_page_is_not_calmed_down(serve: Serve, tmp_path: Path) -> None:
    from tests.helpers.h2client import H2Connection

    server, certificate = start_tls(serve, tmp_path)
    with H2Connection(server.address, client_context(certificate, "h2")) as client:
        streams = [client.begin("/slow?s=30") for _ in range(100)]
        for stream in streams:
            client._h2.reset_stream(stream, 8)
        client._flush()
        assert client.get("/").status == 200
        assert client.goaway is None


def masked(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size)
    return bytes([opcode | (0x80 if fin else 0)]) + length + b"\0\0\0\0" + payload


def open_websocket(server: ServerProcess, buffer: int | None = None, offer: str = "") -> socket.socket:
    sock = connect(server, buffer)
    sock.sendall(
        b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" + offer.encode() + b"\r\n"
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += sock.recv(1)
    assert b" 101 " in answer
    return sock


def bomb() -> bytes:
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(bytes(100_000_000)) + packer.flush(zlib.Z_SYNC_FLUSH)
    return b"\xc2\xff" + struct.pack("!Q", len(packed)) + b"\0\0\0\0" + packed


HUGE = b"\x82\xff" + struct.pack("!Q", 40_000_000) + b"\0\0\0\0" + bytes(40_000_000)
WEBSOCKET_FLOODS: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "a frame of 40 MB": (lambda: HUGE, 1009, ""),
    "40 MB in fragments": (lambda: masked(2, bytes(60_000), False) + masked(0, bytes(60_000), False) * 700, 1009, ""),
    "100000 empty fragments": (lambda: masked(2, b"", False) + masked(0, b"", False) * 100_000, 1008, ""),
    "200000 fragments of a byte": (lambda: masked(2, b"x", False) + masked(0, b"x", False) * 200_000, 0, ""),
    "100000 pings": (lambda: masked(9, b"x" * 100) * 100_000, 0, ""),
    "20000 messages at once": (lambda: masked(2, b"x" * 100) * 20_000, 0, ""),
    "100 MB in 100 kB": (bomb, 1009, "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
}


@pytest.mark.limit_s(180)
def test_websocket_floods(serve: Serve, report: Report) -> None:
    """One after the other on one server. code: how it has to end; 0: it may go on, and costs nobody else anything."""
    server = start(serve, "--websocket-max-message-size", "1M")
    floods = [(what, make(), code, offer) for what, (make, code, offer) in WEBSOCKET_FLOODS.items()]
    with siege(server, report, 20 * MIB):
        for what, data, code, offer in floods:
            with open_websocket(server, offer=offer) as sock:
                begun = time.monotonic()
                answer = push(sock, data, quiet_s=0.5)
                report.note(f"{what}: {time.monotonic() - begun:.1f} s")
                if code:
                    assert b"\x88" in answer and struct.pack("!H", code) in answer, (what, answer[-50:])
    eventually(lambda: server.status().workers[0].websockets == 0, 10.0)
    report.milliseconds("the loop was late by at most", server.status().workers[0].loop_lag_max_s)


def test_websocket_clients_that_read_nothing(serve: Serve, report: Report) -> None:
    server = start(serve, "--write-timeout", "1s")
    with siege(server, report, 40 * MIB):
        socks = [open_websocket(server, 4096) for _ in range(20)]
        message = masked(2, bytes(60_000))
        begun = time.monotonic()
        for sock in socks:
            sock.settimeout(0)
        while server.status().workers[0].websockets:
            assert time.monotonic() - begun < 30
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.send(message)
        report.note(f"20 that send and do not read gone after {time.monotonic() - begun:.1f} s (limit 1 s)")
        for sock in socks:
            sock.close()
