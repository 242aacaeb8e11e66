"""The app's own metrics over all workers, and what deploy/ builds on the server's."""

from __future__ import annotations

import json
import os
import re
import signal
import tempfile
from pathlib import Path

import pytest
import yaml

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.serverproc import REPOSITORY, ServerProcess
from tests.integration.test_admin import scrape, up

APP = """
import os, sys
from prometheus_client import Counter, Gauge, Histogram
from aeros import WebServer

app = WebServer(__name__)
orders = Counter("orders", "Orders.", ["kind"])
books = orders.labels("books")
size = Histogram("order_size", "Items.", buckets=(1, 5))
busy = Gauge("busy", "Busy workers.", multiprocess_mode="livesum")

@app.after_fork
def alive():
    busy.set(1)

@app.get("/")
async def home():
    books.inc()
    size.observe(3)
    return {"pid": os.getpid()}

app.start(sys.argv[1:])
"""


def metrics_directory(server: ServerProcess) -> Path:
    descriptors = Path(f"/proc/{server.workers()[0].pid}/fd")
    for fd in descriptors.iterdir():
        target = fd.readlink()
        if target.suffix == ".db":
            return target.parent
    raise LookupError("no file of prometheus-client is open")


def test_the_apps_metrics_are_merged_and_dead_workers_files_go(serve: Serve) -> None:
    server = up(serve(APP, "-w", "2", "--admin", "127.0.0.1:0", "--app-metrics").ready(2))
    server.expect(r"worker slot=\d")
    made = 0
    for generation in (1, 2):
        for _ in range(3):
            pids = set()
            while len(pids) < 2:
                pids.add(server.get("/").json()["pid"])
                made += 1
            victim = min(server.ready_pids())
            os.kill(victim, signal.SIGKILL)
            eventually(lambda victim=victim: len(server.ready_pids() - {victim}) == 2, 20)
            assert scrape(server)['orders_total{"kind": "books"}'] == made
        if generation == 1:
            server.handle().reload(timeout=30)
            server.settled(2)
    last = scrape(server)
    assert last['orders_total{"kind": "books"}'] == made
    assert last["order_size_count{}"] == made
    assert last['order_size_bucket{"le": "5.0"}'] == made
    assert last["busy{}"] == 2
    directory = metrics_directory(server)
    assert directory.parent == Path(tempfile.gettempdir())
    owners = {path.stem.rpartition("_")[2] for path in directory.glob("*.db")}
    gone = {owner for owner in owners if owner.isdigit() and int(owner) not in server.family}
    assert not gone, "files of processes that ended"
    assert server.stop() == 0
    assert not directory.exists()


@pytest.fixture
def names(serve: Serve) -> set[str]:
    server = up(serve("full", "-w", "1", "--admin", "127.0.0.1:0").ready(1))
    server.handle().reload(timeout=30)
    eventually(lambda: "aeros_last_reload_success{}" in scrape(server), 5)
    server.expect(r"worker slot=\d")
    os.kill(server.ready_pids().pop(), signal.SIGKILL)
    eventually(lambda: any(name.startswith("aeros_worker_exits_total") for name in scrape(server)), 10)
    return {name.partition("{")[0] for name in scrape(server)}


def test_dashboards_and_alerts_name_metrics_that_exist(names: set[str]) -> None:
    board = json.loads((REPOSITORY / "deploy/grafana/aeros.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((REPOSITORY / "deploy/prometheus/alerts.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    asked += [rule["expr"] for rule in alerts]
    used = {name for expression in asked for name in re.findall(r"\baeros_\w+", expression)}
    assert len(used) > 15
    assert used - names == set()
    for rule in alerts:
        assert rule.keys() >= {"alert", "expr", "labels", "annotations"}
        assert rule["annotations"]["summary"]
