"""Whether a tool has done its part: each raises where it has not."""

from __future__ import annotations

import json
import os
import pstats
import shutil
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.helpers.conditions import eventually
from tests.helpers.http import Connection

if TYPE_CHECKING:
    from tests.ecosystem.trial import Trial

#: How often an app is asked in a row. What the killed worker had is lost.
ASKED = 6


def said(text: str) -> Callable[[Trial], None]:
    def check(trial: Trial) -> None:
        output = trial.server.stdout_path.read_text() + trial.server.log
        assert output.count(text) >= trial.asked, (output.count(text), trial.asked)

    return check


def both(*checks: Callable[[Trial], None]) -> Callable[[Trial], None]:
    def check(trial: Trial) -> None:
        for one in checks:
            one(trial)

    return check


# --- watching and measuring ----------------------------------------------------------------------------------


def coverage_saw_the_handler(trial: Trial) -> None:
    files = list(trial.folder.glob(".coverage.*"))
    assert len(files) >= 3, f"of workers before and after the reload: {files}"
    trial.run("coverage", "combine")
    trial.run("coverage", "json", "-o", "coverage.json")
    _handler_ran(trial, "coverage.json")


def _handler_ran(trial: Trial, name: str) -> None:
    found = json.loads((trial.folder / name).read_text())["files"]["plain_app.py"]["executed_lines"]
    source = (trial.folder / "plain_app.py").read_text().splitlines()
    line = next(number for number, text in enumerate(source, 1) if "busy_work(20_000)" in text)
    assert line in found, (line, found)


def pytest_cov_saw_the_handler(trial: Trial) -> None:
    from tests.ecosystem.trial import HERE

    shutil.copy(HERE / "watchers" / "covered_test.py", trial.folder)
    (trial.folder / "pyproject.toml").write_text('[tool.coverage.run]\npatch = ["fork"]\n')
    trial.run("pytest", "-q", "--cov=plain_app", "--cov-report=json:coverage.json", "covered_test.py")
    _handler_ran(trial, "coverage.json")


def debugpy_answers(trial: Trial) -> None:
    ports = {trial.ask().json()["port"] for _ in range(20)}
    assert len(ports) == 2, ports
    for port in ports:
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            body = b'{"seq":1,"type":"request","command":"initialize","arguments":{"adapterID":"test"}}'
            client.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            answer = b""
            while b'"success": true' not in answer and b'"success":true' not in answer:
                part = client.recv(65536)
                assert part, answer
                answer += part


def py_spy_names_the_worker(trial: Trial) -> None:
    for pid in trial.server.ready_pids():
        shown = trial.run("py-spy", "dump", "--pid", pid).stdout
        assert "MainThread" in shown and "aeros/" in shown, shown


def memray_saw_the_workers(trial: Trial) -> None:
    files = list(trial.folder.glob("memray-*.bin.*"))
    worked = [file for file in files if "/aeros/worker/" in trial.run("memray", "stats", "-n", "200", file).stdout]
    assert len(worked) >= 3, files


def cprofile_saw_the_handler(trial: Trial) -> None:
    files = list(trial.folder.glob("*.prof"))
    assert len(files) >= 3, files
    calls = 0
    for file in files:
        stats = pstats.Stats(str(file)).stats  # type: ignore[attr-defined]
        calls += sum(found[1] for (_, _, name), found in stats.items() if name == "busy_work")
    assert calls >= ASKED, calls


def break_thirty_times(trial: Trial) -> None:
    for number in range(30):
        assert trial.server.get(f"/broken/{number}").status == 500


def sentry_had_every_error(trial: Trial) -> None:
    found = {number for number in range(30) if trial.sink.count(f'on purpose {number}"'.encode(), "envelope")}
    assert found == set(range(30)), f"missing: {set(range(30)) - found}"


def otlp_had_every_span(trial: Trial) -> None:
    spans = trial.sink.count(b"inner work", "traces")
    assert spans >= trial.asked - ASKED * 2, (spans, trial.asked)


def newrelic_had_transactions(trial: Trial) -> None:
    text = (trial.folder / "audit.log").read_text()
    assert "WebTransaction/" in text, text[-2000:]


def ddtrace_had_every_trace(trial: Trial) -> None:
    assert [one.path for one in trial.sink.sent if "traces" in one.path], {one.path for one in trial.sink.sent}
    assert trial.sink.count(b"asgi.request", "traces") >= 1


def elastic_had_transactions(trial: Trial) -> None:
    found = trial.sink.count(b'{"transaction":', "intake")
    assert found >= trial.asked - ASKED * 2, (found, trial.asked)


def prometheus_adds_up(trial: Trial) -> None:
    from tests.helpers.http import get

    def told() -> bool:
        text = get(("127.0.0.1", trial.port), "/metrics").text
        (line,) = [line for line in text.splitlines() if line.startswith("shop_visits_total")]
        return float(line.split()[-1]) == trial.asked

    eventually(told, 20, f"{trial.asked} visits")


# --- libraries ---------------------------------------------------------------------------------------------


def queued(trial: Trial) -> None:
    assert (trial.folder / "queued.log").read_text().count("somebody came") >= trial.asked - ASKED


def jobs_run_once(trial: Trial) -> None:
    eventually(lambda: "0 2" in (trial.folder / "jobs").read_text(), 20, "a job of the new generation")
    slots = {line.split()[0] for line in (trial.folder / "jobs").read_text().splitlines()}
    assert slots == {"0"}


# --- extensions ---------------------------------------------------------------------------------------------


def document_of_the_api(trial: Trial) -> None:
    assert "/" in trial.server.get("/openapi.json").json()["paths"]


def logged_in_everywhere(trial: Trial) -> None:
    with Connection(trial.server.address) as connection:
        cookie = connection.request("GET", "/login").headers["set-cookie"].split(";")[0]
    assert trial.server.get("/secret").status == 401
    for _ in range(10):
        with Connection(trial.server.address) as connection:
            answer = connection.request("GET", "/secret", headers={"cookie": cookie})
            assert answer.json() == {"user": "ann"}, answer


def limited_once_for_all(trial: Trial) -> None:
    answers = [trial.server.get("/seldom").status for _ in range(8)]
    assert answers.count(200) == 3 and answers.count(429) == 5, answers


def cross_origin(trial: Trial) -> None:
    with Connection(trial.server.address) as connection:
        answer = connection.request("GET", "/", headers={"origin": "https://example.com"})
    assert answer.headers["access-control-allow-origin"] == "https://example.com"


def compressed(trial: Trial) -> None:
    with Connection(trial.server.address) as connection:
        answer = connection.request("GET", "/large", headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip" and answer.body[:2] == b"\x1f\x8b"


def session_of_all_workers(trial: Trial) -> None:
    cookie = ""
    for visits in range(1, 11):
        with Connection(trial.server.address) as connection:
            answer = connection.request("GET", "/", headers={"cookie": cookie} if cookie else {})
        assert answer.json()["visits"] == visits, answer
        cookie = answer.headers["set-cookie"].split(";")[0] if "set-cookie" in answer.headers else cookie


def languages(trial: Trial) -> None:
    assert trial.server.get("/?language=de").json()["date"] == "1. März 2026"
    assert trial.server.get("/").json()["date"] == "March 1, 2026"


def flask_patch_is_refused_upstream(trial: Trial) -> None:
    import subprocess

    command = [str(trial.python), "-m", "aeros", "run", "flask_patch_app:app", "-b", "127.0.0.1:0"]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(trial.folder)}
    done = subprocess.run(
        command, cwd=trial.folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3, done
    assert "ImportError" in done.stderr, done.stderr
