"""Workers replaced for age, requests or memory: the replacement ready first, nothing dropped."""

from __future__ import annotations

from collections import Counter

from tests.conftest import Serve
from tests.helpers.conditions import Watch, eventually
from tests.helpers.load import KeepAliveGet, Load, NewConnectionGet, SlowGet
from tests.helpers.serverproc import ServerProcess

CLIENTS = (KeepAliveGet, NewConnectionGet, SlowGet)


def recycled_under_load(server: ServerProcess, workers: int, at_least: int) -> None:
    first = server.ready_pids()
    with (
        Watch(lambda: [worker.state for worker in server.workers()], pause_s=0.02) as watch,
        Load(server.address, CLIENTS) as tally,
    ):
        eventually(lambda: len(tally.pids() - first) >= at_least, 40, f"{at_least} replacements answering")
    tally.assert_nothing_failed(at_least=50)
    states: list[list[str]] = watch.values  # type: ignore[assignment]
    assert min(seen.count("ready") for seen in states) >= workers, "the replacement was not ready first"
    assert not watch.errors


def test_max_requests(serve: Serve) -> None:
    server = serve("full", "-w", "2", "--max-requests", "60").ready(2)
    recycled_under_load(server, 2, at_least=4)
    assert server.status().generation == 1, "a recycle is no reload"
    assert all(worker.restarts == 0 or worker.last_exit for worker in server.workers())
    assert server.stop() == 0


def test_max_requests_is_about_that_many(serve: Serve) -> None:
    server = serve("full", "-w", "1", "--max-requests", "20").ready(1)
    with Load(server.address, (NewConnectionGet,), pause_s=0.02) as tally:
        eventually(lambda: len(tally.pids()) >= 4, 30, "four workers one after the other")
    tally.assert_nothing_failed()
    served = Counter(record.who.pid for record in tally.records if record.who)
    finished = [count for pid, count in served.items() if pid not in server.ready_pids()]
    assert all(20 <= count <= 20 + 20 for count in finished), "it serves on only until its replacement is ready"
    assert server.stop() == 0


def test_jitter_spreads_the_limits(serve: Serve) -> None:
    server = serve("full", "-w", "1", "--max-requests", "10", "--max-requests-jitter", "30").ready(1)
    with Load(server.address, (NewConnectionGet,)) as tally:
        first = server.ready_pids()
        eventually(lambda: len(tally.pids() - first) >= 5, 40)
    tally.assert_nothing_failed()
    counts = {sum(record.who.pid == pid for record in tally.records if record.who) for pid in tally.pids()}
    assert len(counts) > 2, f"the same limit each time: {counts}"
    assert min(sorted(counts)[1:]) >= 10
    assert server.stop() == 0


def test_max_lifetime(serve: Serve) -> None:
    server = serve("full", "-w", "2", "--max-lifetime", "1.5s").ready(2)
    recycled_under_load(server, 2, at_least=2)
    assert server.stop() == 0


def test_max_rss(serve: Serve) -> None:
    server = serve("full", "-w", "1", "--max-rss", "120M").ready(1)
    (first,) = server.ready_pids()
    with Load(server.address, CLIENTS) as tally:
        for _ in range(10):
            server.get("/leak?mib=12")
        eventually(lambda: first not in server.ready_pids() and len(server.ready_pids()) == 1, 30, "recycled")
    tally.assert_nothing_failed()
    (fresh,) = server.settled().workers
    assert fresh.rss_bytes is not None
    assert fresh.rss_bytes < 120 << 20
    server.wait_log(rf"worker slot=0 gen=1 pid={first}\b.*MiB", 5)
    assert server.stop() == 0
