"""Plain `def` handlers run in a pool of threads, whose size is an option."""

from __future__ import annotations

import threading
import time

from tests.conftest import Serve
from tests.helpers.http import Answer, get
from tests.helpers.load import Load, NewConnectionGet
from tests.helpers.serverproc import ServerProcess


def at_once(server: ServerProcess, path: str, count: int) -> list[Answer]:
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(get(server.address, path, 20))) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == count
    return answers


def test_they_wait_side_by_side_outside_the_loop(serve: Serve) -> None:
    server = serve("plain", "-w", "1").ready(1)
    answers = at_once(server, "/together", 3)
    assert {answer.status for answer in answers} == {200}
    assert len({answer.json()["thread"] for answer in answers}) == 3
    assert all(answer.json()["thread"] != answer.json()["main"] for answer in answers)
    assert server.stop() == 0


def test_the_number_of_threads_is_an_option(serve: Serve) -> None:
    server = serve("plain", "-w", "1", "--threads", "2").ready(1)
    begun = time.monotonic()
    answers = at_once(server, "/sleep", 6)
    took = time.monotonic() - begun
    assert len({answer.json()["thread"] for answer in answers}) <= 2
    assert took >= 1.4, "six sleeps of half a second in two threads"
    assert server.stop() == 0


def test_they_are_reloaded_like_any_other(serve: Serve) -> None:
    server = serve("plain", "-w", "2").ready(2)
    with Load(server.address, (NewConnectionGet,) * 3) as tally:
        server.handle().reload(timeout=30)
        server.settled(2)
    tally.assert_nothing_failed()
    assert server.stop() == 0


def test_a_sleeping_thread_is_cut_at_the_drain_limit(serve: Serve) -> None:
    """A thread cannot be ended from outside: the process is, within the configured total."""
    text = """
import sys, time
from aeros import WebServer

app = WebServer(__name__)

@app.get("/")
def home():
    time.sleep(600)
    return ""

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""
    from tests.helpers.conditions import eventually
    from tests.helpers.http import Connection

    server = serve(text, "-w", "1", "--drain-timeout", "1", "--shutdown-timeout", "1").ready(1)
    server.expect("")
    with Connection(server.address) as connection:
        connection.send(connection.head("GET", "/"))
        eventually(lambda: sum(worker.in_flight for worker in server.workers()) == 1, 5)
        server.stop(deadline_s=1 + 1 + 2.5)
    server.family_gone(0.5)
