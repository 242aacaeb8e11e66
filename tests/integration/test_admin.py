"""The dashboard's process: what it says is true, who may read it, and that the server does not need it."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from aeros.core.ipc.dashboard import AdminSettings
from aeros.dashboard.guard import SESSION_S, Guard
from aeros.dashboard.history import History
from tests.apps import deploy
from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually
from tests.helpers.http import Connection, get
from tests.helpers.load import MIXED, KeepAliveGet, Load
from tests.helpers.serverproc import ServerProcess

TOKEN = "correct-horse-battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
WRITE = ("-w", "1", "--admin", "127.0.0.1:0", "--admin-write")


def ask(
    server: ServerProcess, path: str, *, headers: Mapping[str, str] | None = None, body: Any = None
) -> tuple[int, str]:
    """(status, text) of one request to the dashboard."""
    url = server.status().admin + path
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def up(server: ServerProcess) -> ServerProcess:
    eventually(lambda: ask(server, "/healthz")[0] == 200, 20, "the dashboard answers")
    return server


def scrape(server: ServerProcess) -> dict[str, float]:
    """Every sample of /metrics by its name and labels."""
    code, text = ask(server, "/metrics")
    assert code == 200
    return {
        sample.name + json.dumps(sample.labels, sort_keys=True): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def dashboard_pid(server: ServerProcess) -> int | None:
    return next((pid for pid in server.family if proc.command(pid).startswith("aeros: dashboard")), None)


def test_counts_are_the_clients_and_survive_kills_reloads_and_its_own_death(serve: Serve, tmp_path: Path) -> None:
    server = up(serve("full", "-w", "2", "--admin", "127.0.0.1:0").ready(2))
    server.expect(r"dashboard pid=\d+ ended \(SIGKILL\)")
    seen: list[dict[str, float]] = []
    with Load(server.address, MIXED) as tally:
        for version in ("v2", "v3"):
            done = tally.ok
            eventually(lambda done=done: tally.ok > done + 50, 20)
            seen.append(scrape(server))
            deploy(tmp_path / "app.py", version=version)
            server.handle().reload(timeout=30)
            victim = dashboard_pid(server)
            assert victim
            os.kill(victim, signal.SIGKILL)
            eventually(lambda victim=victim: dashboard_pid(server) not in (None, victim), 10, "started again")
            up(server)
            seen.append(scrape(server))
    tally.assert_nothing_failed()
    made = len(tally.records)
    eventually(lambda: scrape(server)["aeros_requests_total{}"] == made, 3, "the client's count")
    last = scrape(server)
    assert last['aeros_responses_total{"class": "2xx"}'] == made
    assert last["aeros_request_duration_seconds_count{}"] == made
    assert last['aeros_reloads_total{"outcome": "ok"}'] == 2
    assert last["aeros_generation{}"] == 3
    assert sum(value for name, value in last.items() if name.startswith("aeros_slot_requests_total")) == made
    for before, after in zip(seen, [*seen[1:], last], strict=True):
        counters = [name for name in before if "_total{" in name or "_bucket{" in name]
        assert counters
        assert not [name for name in counters if after[name] < before[name]]
    assert server.stop() == 0


def test_ready_only_with_enough_workers_and_while_not_ending(serve: Serve) -> None:
    server = up(serve("full", "-w", "2", "--admin", "127.0.0.1:0", "--ready-min", "2", "--drain-delay", "3s").ready(2))
    assert ask(server, "/readyz")[0] == 200
    server.handle().scale(1)
    eventually(lambda: len(server.workers()) == 1, 10)
    eventually(lambda: ask(server, "/readyz")[0] == 503, 5)
    assert "1 of at least 2" in ask(server, "/readyz")[1]
    server.handle().scale(2)
    eventually(lambda: ask(server, "/readyz")[0] == 200, 5)
    os.kill(server.pid, signal.SIGTERM)
    eventually(lambda: ask(server, "/readyz")[0] == 503, 2.5, "not ready during the drain delay")
    assert ask(server, "/healthz")[0] == 200
    assert server.wait_exit() == 0


def test_a_token_guards_it_and_is_written_nowhere(serve: Serve) -> None:
    server = serve("full", "-w", "1", "--admin", "0.0.0.0:0", env={"AEROS_ADMIN_TOKEN": TOKEN}).ready(1)
    eventually(lambda: ask(server, "/readyz")[0] == 200, 20, "probes need no token")
    assert ask(server, "/metrics")[0] == 401
    assert ask(server, "/status.json", headers={"Authorization": "Bearer wrong-token"})[0] == 401
    assert ask(server, "/?token=wrong-token")[0] == ask(server, f"/?token={TOKEN}")[0] == 401
    assert ask(server, "/events?token=" + TOKEN)[0] == 401
    code, text = ask(server, "/status.json", headers={"Authorization": f"Bearer {TOKEN}"})
    assert code == 200
    assert json.loads(text)["pid"] == server.pid
    assert TOKEN not in server.log
    assert not [pid for pid in server.family if TOKEN in proc.command(pid)]


def test_read_only_unless_told_and_only_for_its_own_page(serve: Serve) -> None:
    server = up(serve("full", "-w", "1", "--admin", "127.0.0.1:0").ready(1))
    assert ask(server, "/scale", body={"workers": 2})[0] == 403
    assert ask(server, "/", headers={"Host": "evil.example"})[0] == 403
    assert server.stop() == 0
    server = up(serve("full", *WRITE, env={"AEROS_ADMIN_TOKEN": TOKEN}).ready(1))
    assert ask(server, "/scale", body={"workers": 2})[0] == 401
    for foreign in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}):
        assert ask(server, "/scale", body={"workers": 2}, headers=BEARER | foreign)[0] == 403
    assert ask(server, "/scale", body={"workers": "two"}, headers=BEARER)[0] == 400
    code, text = ask(server, "/scale", body={"workers": 2}, headers=BEARER | {"Origin": server.status().admin})
    assert (code, json.loads(text)["workers"]) == (200, 2)
    assert ask(server, "/restart", body={"slot": 7}, headers=BEARER)[0] == 400
    assert json.loads(ask(server, "/reload", body={}, headers=BEARER)[1])["generation"] == 2


def test_it_does_not_outlive_a_killed_supervisor(serve: Serve) -> None:
    server = up(serve("full", "-w", "1", "--admin", "127.0.0.1:0").ready(1))
    assert dashboard_pid(server)
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: dashboard_pid(server) is None, 3, "the dashboard is gone")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--admin", "0.0.0.0:0"), r"needs a token: set AEROS_ADMIN_TOKEN"),
        (("--admin", "unix:@x"), r"must be host:port, such as 127.0.0.1:9000, or unix:/path"),
        (WRITE, r"--admin-write needs a token, since any user of this machine can connect to 127.0.0.1:0"),
        (("--admin", "unix:x", "--admin-write", "--admin-mode", "666"), r"since with that mode any user can connect"),
        (("--admin", "unix:x", "--admin-mode", "1777"), r"--admin-mode must be a mode from 0 to 0777, in octal"),
        (("--admin", "127.0.0.1:0", "--admin-token", "short"), r"8 to 200 visible ASCII"),
    ],
)
def test_a_mistake_is_one_sentence(serve: Serve, arguments: tuple[str, ...], sentence: str) -> None:
    server = serve("full", *arguments)
    assert server.wait_exit() == 2
    assert re.search(sentence, server.log), server.log
    assert len(server.log.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.limit_s(600)
def test_counters_never_go_down_over_100_kills_and_10_reloads(serve: Serve) -> None:
    """Requests a client had answered are counted, and those that died with a worker as none."""
    server = up(serve("full", "-w", "3", "--admin", "127.0.0.1:0").ready(3))
    server.expect(r".*")
    before: dict[str, float] = {}
    with Load(server.address, (KeepAliveGet,) * 4) as tally:
        for number in range(100):
            victim = min(server.ready_pids())
            os.kill(victim, signal.SIGKILL)
            eventually(lambda victim=victim: len(server.ready_pids() - {victim}) == 3, 60)
            if number % 10 == 9:
                server.handle().reload(timeout=60)
            after = scrape(server)
            down = [name for name in before if "_total{" in name or "_bucket{" in name if after[name] < before[name]]
            assert not down
            before = after
    time.sleep(0.5)
    last = scrape(server)
    answered = tally.ok
    failed = len(tally.failures)
    print(f"{answered} answered, {failed} died with a worker; {last['aeros_requests_total{}']:.0f} counted")
    assert last['aeros_reloads_total{"outcome": "ok"}'] == 10
    # A worker killed between the answer and its count may owe one; one killed within a request has begun one more.
    assert answered - 100 <= last["aeros_requests_total{}"] <= answered + failed


@pytest.mark.slow
@pytest.mark.limit_s(900)  # it is started again after ever longer delays, 30 s at last
def test_killed_20_times_under_load_costs_no_request(serve: Serve) -> None:
    server = up(serve("full", "-w", "2", "--admin", "127.0.0.1:0").ready(2))
    server.expect(r"dashboard pid=\d+ ended \(SIGKILL\)")
    with Load(server.address, MIXED) as tally:
        for _ in range(20):
            victim = eventually(lambda: dashboard_pid(server), 60, "a dashboard")
            os.kill(victim, signal.SIGKILL)
            eventually(lambda victim=victim: dashboard_pid(server) != victim, 10)
            server.wait_log(r"dashboard pid=\d+ ended")
    tally.assert_nothing_failed()


SLOW_START = """
import asyncio
from pathlib import Path
from aeros import WebServer
app = WebServer(__name__)

@app.before_serving
async def start():
    while Path("hold").exists():
        await asyncio.sleep(0.02)

@app.route("/")
async def home():
    return "home"

if __name__ == "__main__":
    import sys
    app.start(sys.argv[1:])
"""


def test_a_worker_that_starts_has_no_rate_of_the_one_it_replaces(serve: Serve) -> None:
    server = serve(SLOW_START, "-w", "1").ready(1)
    (old,) = server.ready_pids()
    history = History()
    history.add(server.status())
    for _ in range(20):
        assert server.get().status == 200
    (server.cwd / "hold").touch()
    server.send_signal(signal.SIGHUP)
    (new,) = eventually(lambda: [worker.pid for worker in server.workers("starting")], what="a worker that starts")
    eventually(lambda: server.status().totals.requests == 20)
    history.add(server.status())
    (server.cwd / "hold").unlink()
    assert history.worker_rates[old] > 0
    assert history.worker_rates[new] == 0
    assert [event["text"] for event in history.events] == ["a new generation is being made"]
    server.settled(2)
    assert server.stop() == 0


# -- the session of a browser


def login(server: ServerProcess) -> dict[str, str]:
    """Headers of a browser that has given the token."""
    code, text = ask(server, "/login", headers=BEARER, body={})
    assert code == 200
    return {"Authorization": f"Bearer {json.loads(text)['session']}"}


def test_a_browser_gets_a_secret_of_its_own_for_the_token(serve: Serve) -> None:
    server = up(serve("full", *WRITE, env={"AEROS_ADMIN_TOKEN": TOKEN}).ready(1))
    one, other = login(server), login(server)
    assert one != other
    assert TOKEN not in str(one)
    assert ask(server, "/status.json", headers=one)[0] == ask(server, "/status.json", headers=other)[0] == 200
    assert ask(server, "/scale", headers=one, body={"workers": 1})[0] == 200
    # It is no cookie, opens no other session, and cannot be made longer.
    session = one["Authorization"].removeprefix("Bearer ")
    assert ask(server, "/status.json", headers={"Cookie": f"aeros_admin={session}"})[0] == 401
    assert ask(server, "/login", headers=one, body={})[0] == 400
    ends, _, rest = session.partition(".")
    assert ask(server, "/status.json", headers={"Authorization": f"Bearer {int(ends) + 1}.{rest}"})[0] == 401
    assert ask(server, "/login", headers={"Authorization": "Bearer wrong-token"}, body={})[0] == 401
    # It outlives the dashboard's process, which may end at any time.
    server.expect(r"dashboard pid=\d+ ended \(SIGKILL\)")
    victim = dashboard_pid(server)
    assert victim
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: dashboard_pid(server) not in (None, victim), 10, "started again")
    up(server)
    assert ask(server, "/status.json", headers=one)[0] == 200


def test_a_session_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = Guard(AdminSettings("app", "127.0.0.1", TOKEN, True, 1, "", ""))

    def asked(bearer: str) -> Any:
        return SimpleNamespace(headers={"Authorization": f"Bearer {bearer}"})

    session = guard.new_session(asked(TOKEN))
    assert guard.admits(asked(session))
    later = time.time() + SESSION_S + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert not guard.admits(asked(session))
    assert guard.admits(asked(TOKEN))
    for odd in ("", ".", "..", "0", f"{session}.", session[:-1] + "ä", "9" * 5000 + ".x.y"):
        assert not guard.admits(asked(odd))


# -- a Unix socket


@pytest.mark.parametrize(("options", "mode"), [((), 0o600), (("--admin-mode", "660"), 0o660)])
def test_a_unix_socket_needs_no_token_and_is_its_owners(
    serve: Serve, tmp_path: Path, options: tuple[str, ...], mode: int
) -> None:
    path = tmp_path / "admin.sock"
    server = serve("full", "-w", "1", "--admin", f"unix:{path}", "--admin-write", *options).ready(1)
    found = path.stat()
    assert (stat.S_ISSOCK(found.st_mode), stat.S_IMODE(found.st_mode)) == (True, mode)
    assert server.status().admin == f"unix:{path}"
    assert eventually(lambda: get(str(path), "/healthz").status == 200, 20)
    with Connection(str(path)) as client:
        assert client.request("POST", "/scale", b'{"workers":2}').json()["workers"] == 2
        # A page that reaches it through a forwarded port is a page like any.
        assert client.request("POST", "/reload", headers={"Origin": "http://evil.example"}).status == 403
    done = server.handle().upgrade(timeout=60)
    server.succeeded_by(done.pid)
    assert get(str(path), "/status.json").json()["pid"] == done.pid
    assert server.stop() == 0
    assert not path.exists()
