"""The log: a whole line per event, as text or JSON, through rotation; the app's own logging left alone."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.apps import deploy
from tests.conftest import Serve
from tests.faults import json_logs
from tests.helpers.conditions import eventually
from tests.helpers.http import ExchangeError
from tests.helpers.load import KeepAliveGet, Load, NewConnectionGet
from tests.helpers.serverproc import ServerProcess

WORKER = re.compile(r"worker slot=\d+ gen=\d+ pid=\d+")


def test_one_shape_for_a_worker_in_text(serve: Serve) -> None:
    server = serve("full", "-w", "2").ready(2)
    for worker in server.workers():
        server.wait_log(rf"worker slot={worker.slot} gen=1 pid={worker.pid}\b.*ready", 5)
    assert server.stop() == 0
    for line in server.log.splitlines():
        if "slot=" in line:
            assert WORKER.search(line), line


def test_every_line_is_json_when_asked_for(tmp_path: Path) -> None:
    """Exceptions, prints, warnings, a crash, a reload that is refused, a stop. (Under load: scripts/json_logs.)"""
    (tmp_path / "app.py").write_text(json_logs.APP)
    with contextlib.closing(ServerProcess(json_logs.COMMAND, tmp_path)) as server:
        server.ready(2)
        for path in json_logs.PATHS:
            server.get(path)
        with pytest.raises(ExchangeError):
            server.get("/crash")
        server.wait_log("died: SIGSEGV")
        (tmp_path / "app.py").write_text("raise LookupError('two\\nlines')\n")
        assert server.command("reload", str(server.pid)).returncode == 1
        assert server.stop() == 0
        lines = (server.log + server.stdout).splitlines()
        assert [(why, line) for line in lines if (why := json_logs.wrong(line.encode()))] == []
        records = [json.loads(line) for line in lines]
        server.expect("")
    access = [record for record in records if record["logger"] == "hypercorn.access"]
    routes = [record["route"] for record in access if record["path"] != "/crash"]
    assert sorted(map(str, routes)) == sorted(["/item/<int:number>"] * 3 + ["/stream", "None", "/raises", "/odd"])
    assert all(record["request_id"] for record in access)
    exceptions = "".join(record.get("exception", "") for record in records)
    for told in ("two\nlines", "Fatal Python error: Segmentation fault", "ValueError: invalid literal", "1 / 0"):
        assert told in exceptions, told
    by_logger = {(record["logger"], record["message"]) for record in records}
    assert {("shop", "sold 7"), ("shop", "begins"), ("stdout", "printed at import"), ("stderr", "ends")} <= by_logger


def test_the_access_log_has_every_request_once_and_whole(serve: Serve, tmp_path: Path) -> None:
    """Four writers on one file, through reloads."""
    path = tmp_path / "access.log"
    server = serve("full", "-w", "4", "--access-logfile", str(path), "--access-logformat", "<%(m)s %(U)s %(s)s>").ready(
        4
    )
    with Load(server.address, (KeepAliveGet,) * 3 + (NewConnectionGet,) * 3, pause_s=0) as tally:
        eventually(lambda: tally.ok > 1000, 30)
        server.handle().reload(timeout=30)
    server.settled()
    assert server.stop() == 0
    tally.assert_nothing_failed(1000)
    lines = path.read_text().splitlines()
    assert [line for line in lines if "<GET / 200>" not in line] == []
    assert len(lines) == len(tally.records)


def test_usr1_reopens_after_a_rename_and_loses_nothing(serve: Serve, tmp_path: Path) -> None:
    access, error = tmp_path / "access.log", tmp_path / "error.log"
    server = serve("full", "-w", "2", "--access-logfile", str(access), "--error-logfile", str(error))
    eventually(lambda: error.exists() and "http://" in error.read_text() + server.log, 30, "the URL in a log")
    match = re.search(r"(http://[\d.]+:\d+)", error.read_text() + server.log)
    assert match
    from tests.helpers.http import address_of

    address = address_of(match[1])
    server.ready_pids()
    with Load(address, (KeepAliveGet, NewConnectionGet)) as tally:
        for number in range(3):
            done = tally.ok
            eventually(lambda done=done: tally.ok > done + 50, 20)
            access.rename(tmp_path / f"access.{number}")
            error.rename(tmp_path / f"error.{number}")
            server.send_signal(signal.SIGUSR1)
            eventually(lambda: access.exists() and error.exists(), 5, "both files again")
            done = tally.ok
            eventually(lambda done=done: access.exists() and access.read_text().count("\n") > 20, 20)
    assert server.stop() == 0
    tally.assert_nothing_failed()
    lines = sum(path.read_text().count("\n") for path in tmp_path.glob("access.*"))
    assert lines == len(tally.records)


OWN_LOGGING = """
import logging, logging.config, os, sys
from aeros import WebServer

logging.config.dictConfig({
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"mine": {"format": "MINE %(levelname)s %(name)s %(message)s"}},
    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "mine", "stream": "ext://sys.stdout"}},
    "root": {"handlers": ["out"], "level": "INFO"},
})
app = WebServer(__name__)

@app.get("/")
async def home():
    logging.getLogger("shop").info("sold one")
    app.logger.info("through the app")
    root = logging.getLogger()
    return {"handlers": [type(handler).__name__ for handler in root.handlers], "level": root.level}

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


def test_the_apps_own_logging_is_left_alone(serve: Serve) -> None:
    server = serve(OWN_LOGGING, "-w", "1").ready(1)
    assert server.get().json() == {"handlers": ["StreamHandler"], "level": 20}
    assert server.stop() == 0
    mine = [line for line in server.stdout.splitlines() if line.startswith("MINE")]
    assert "MINE INFO shop sold one" in mine
    assert sum("sold one" in line for line in mine) == 1
    assert "sold one" not in server.log, "nothing is doubled"


def test_nothing_of_aeros_goes_to_stdout(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    server.get()
    assert server.stop() == 0
    assert server.stdout == ""


def test_a_reload_that_failed_is_one_line_and_one_traceback(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "2").ready(2)
    server.expect("reload", "ZeroDivisionError", "Traceback")
    (tmp_path / "app.py").write_text("1 / 0\n")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.status().last_reload, 20)
    deploy(tmp_path / "app.py", version="v2")
    assert server.log.count("Traceback (most recent call last)") == 1
    assert len([line for line in server.log.splitlines() if "[error]" in line]) == 1
    assert server.stop() == 0


@pytest.mark.parametrize("level", ["debug", "warning"])
def test_the_level_is_an_option(serve: Serve, level: str) -> None:
    server = serve("full", "-w", "1", "--log-level", level)
    eventually(lambda: server.ready_pids() if server.control_path.exists() else None, 30)
    assert server.stop() == 0
    if level == "warning":
        assert "[info]" not in server.log


def test_a_log_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    """Catalogue 36: the reader of the log pipe is gone, then one that never reads; the server goes on."""
    import os
    import subprocess
    import sys
    import uuid

    from tests.apps import source_of
    from tests.helpers import proc
    from tests.helpers.http import ExchangeError, get
    from tests.helpers.serverproc import environment

    program = tmp_path / "app.py"
    program.write_text(source_of("full"))
    marker = uuid.uuid4().hex
    reader, writer = os.pipe()
    import socket
    import tempfile

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="aeros-test-") as runtime:
        command = [
            sys.executable,
            str(program),
            "-w",
            "1",
            "-b",
            f"127.0.0.1:{port}",
            "--access-logfile",
            "-",
        ]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment(Path(runtime), marker),
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            start_new_session=True,
        )
        os.close(writer)
        try:

            def answers() -> bool:
                try:
                    return get(("127.0.0.1", port)).status == 200
                except ExchangeError:
                    return False

            eventually(answers, 30)
            os.close(reader)
            reader = -1
            for _ in range(20):
                assert get(("127.0.0.1", port)).status == 200
            process.send_signal(signal.SIGHUP)
            for _ in range(20):
                assert get(("127.0.0.1", port)).status == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            eventually(lambda: not proc.family(marker), 3)
        finally:
            if reader >= 0:
                os.close(reader)
            proc.kill_all(proc.family(marker))
            process.wait(10)


@pytest.mark.parametrize("option", ["--access-logfile", "--error-logfile"])
def test_a_log_that_cannot_be_written_is_one_sentence(serve: Serve, tmp_path: Path, option: str) -> None:
    path = tmp_path / "none" / "x.log"
    server = serve("plain", "-w", "2", option, str(path))
    assert server.wait_exit() == 2
    assert server.log == f"aeros: cannot write the log {path} ({option}): No such file or directory\n"


def test_a_folder_that_is_gone_costs_a_line_and_no_access_log(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    server = serve("plain", "-w", "2", "--access-logfile", str(folder / "access.log")).ready(2)
    folder.rename(tmp_path / "old")
    server.expect("cannot reopen", "reload")
    server.send_signal(signal.SIGUSR1)
    server.wait_log("log files reopened")
    for _ in range(5):
        assert server.get().status == 200
    eventually(lambda: (tmp_path / "old" / "access.log").read_text().count("GET /") == 5, 5)
    refused = server.command("reload", str(server.pid))
    assert refused.returncode == 1
    assert "No such file or directory" in refused.stderr
    assert server.get().status == 200
    assert server.stop() == 0
    assert server.log.count("cannot reopen the log") == 1


FORGING = """
import gc, sys
from quart import request
from aeros import WebServer

app = WebServer(__name__)

@app.before_request  # no route has a line break
async def any():
    path = request.path
    if "boom" in path:
        raise ValueError("one\\n2026-01-01 00:00:00.000 [critical] aeros: forged\\x1b[31m")
    if "retire" in path:
        # What a worker that was taken over can say of itself.
        serving = next(thing for thing in gc.get_objects() if type(thing).__name__ == "Serving")
        serving.request_retirement("tired\\n2026-01-01 00:00:00.000 [critical] aeros: forged\\x1b[31m")
    return path

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""
FORGED = b"%0d%0aFORGED%20line%1b%5b31m%c2%9b31m%e2%80%a8%e2%80%ae"


def say_it_all(server: ServerProcess) -> None:
    for path in (b"/plain", b"/boom", b"/retire"):
        assert isinstance(server.address, tuple)
        with socket.create_connection(server.address, timeout=10) as line:
            line.sendall(
                b"GET "
                + path
                + FORGED
                + b"?"
                + FORGED
                + b'"\\ HTTP/1.1\r\nHost: a\r\nUser-Agent: a" 200 "b\\\xc2\x9b\x85\r\n'
                b"Referer: \xe2\x80\xa8\xff\r\nConnection: close\r\n\r\n"
            )
            while line.recv(65536):
                pass
    server.wait_log("tired")


def test_nobody_forges_a_line_or_steers_a_terminal(serve: Serve) -> None:
    server = serve(FORGING, "-w", "1", "--access-logfile", "-").ready(1)
    server.expect("Exception", "Traceback", "forged")
    say_it_all(server)
    shown = "".join(
        server.command(*command).stdout for command in (("logs",), ("status",), ("requests",), ("stack", "0"))
    )
    assert server.stop() == 0
    assert "forged" in shown
    for text in (server.log, server.stdout, shown):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]", text), ascii(text)
        assert not [line for line in text.splitlines() if line.startswith(("FORGED", "2026-01-01"))]
    assert server.stdout.count("\n") == 3
    for line in server.stdout.splitlines():
        assert line.count('"') == 6, line
        assert "a\\x22 200 \\x22b\\x5c" in line
    assert re.search(r"^    ValueError: one\n    2026-01-01", server.log, re.MULTILINE), "marked as a continuation"


def test_one_json_object_per_event_whoever_logs_it(serve: Serve) -> None:
    server = serve(FORGING, "-w", "1", "--access-logfile", "-", "--log-format", "json").ready(1)
    server.expect("Exception", "Traceback", "forged")
    say_it_all(server)
    assert server.stop() == 0
    records = [json.loads(line) for line in server.log.splitlines()]
    access = [json.loads(line) for line in server.stdout.splitlines()]
    assert len(access) == 3
    first = access[0]
    assert (first["method"], first["status"], first["protocol"]) == ("GET", 200, "HTTP/1.1")
    assert first["path"].startswith("/plain\r\nFORGED line\x1b[31m")
    assert first["bytes"] == len(first["path"].encode())
    assert first["client"].startswith("127.0.0.1:")
    assert 0 <= first["duration_ms"] < 10_000
    (error,) = [record for record in records if record["level"] == "error"]
    assert "Exception on request GET /boom" in error["message"]
    assert "ValueError: one" in error["exception"]
    for text in (server.log, server.stdout):
        assert text.isascii()
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f]", text)
