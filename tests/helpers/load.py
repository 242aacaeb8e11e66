"""Clients that keep asking in the background and write down what became of every single request.

The rule that makes "nothing dropped" measurable: a connection the server closes while it is idle is simply
opened again, as browsers do; a request that was *sent* and ended without a whole, right answer is a failure.
"""

from __future__ import annotations

import collections
import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from . import figures
from .http import Address, Answer, Connection, Refused, ResetUnanswered, TimedOut, Truncated


class Outcome(StrEnum):
    OK = "ok"
    REFUSED = "refused"
    RESET = "reset"
    TRUNCATED = "truncated"
    TIMEOUT = "timeout"
    WRONG_BODY = "wrong body"
    BAD_STATUS = "bad status"


@dataclass(frozen=True)
class Who:
    """Which process answered."""

    pid: int
    generation: int
    version: str


@dataclass(frozen=True)
class Record:
    """One request: when it began and ended (monotonic), how it went, and who answered."""

    client: str
    begun: float
    ended: float
    outcome: Outcome
    who: Who | None = None
    detail: str = ""

    def in_flight_at(self, kill: float) -> bool:
        """Whether it was under way then. A kill takes a moment to take effect, and a client to notice."""
        return self.begun <= kill + 0.05 and self.ended >= kill - 0.05


class Tally:
    """All records of a load; safe to read while it grows."""

    def __init__(self) -> None:
        self._records: list[Record] = []

    def add(self, record: Record) -> None:
        self._records.append(record)

    @property
    def records(self) -> list[Record]:
        return list(self._records)

    @property
    def ok(self) -> int:
        return sum(record.outcome is Outcome.OK for record in self.records)

    @property
    def failures(self) -> list[Record]:
        return [record for record in self.records if record.outcome is not Outcome.OK]

    def seen(self, since: float = 0.0) -> set[Who]:
        """Who answered requests begun at or after that moment."""
        return {record.who for record in self.records if record.who and record.begun >= since}

    def versions(self, since: float = 0.0) -> set[str]:
        return {who.version for who in self.seen(since)}

    def pids(self, since: float = 0.0) -> set[int]:
        return {who.pid for who in self.seen(since)}

    def first_answer_of(self, pid: int) -> float | None:
        return min((record.ended for record in self.records if record.who and record.who.pid == pid), default=None)

    def slowest_s(self) -> float:
        return max((record.ended - record.begun for record in self.records), default=0.0)

    def summary(self) -> str:
        counts = collections.Counter((record.client, record.outcome.value) for record in self.records)
        return ", ".join(f"{client} {outcome}: {count}" for (client, outcome), count in sorted(counts.items()))

    def assert_nothing_failed(self, at_least: int = 1) -> None:
        """Every request was answered, and there were enough of them to mean something."""
        failures = self.failures
        shown = "\n".join(f"  {record}" for record in failures[:10])
        assert not failures, f"{len(failures)} of {len(self.records)} failed ({self.summary()}):\n{shown}"
        assert self.ok >= at_least, f"only {self.ok} requests were made: {self.summary()}"


class Client(threading.Thread):
    """Asks again and again until stopped. A subclass makes one exchange; errors are sorted here."""

    label = "client"

    def __init__(self, address: Address, tally: Tally, pause_s: float = 0.005, timeout_s: float = 20.0) -> None:
        super().__init__(daemon=True, name=self.label)
        self.address = address
        self.tally = tally
        self.pause_s = pause_s
        self.timeout_s = timeout_s
        self.over = threading.Event()
        self.connections = 0

    def run(self) -> None:
        try:
            while not self.over.is_set():
                self.once()
                self.over.wait(self.pause_s)
        finally:
            self.finish()

    def once(self) -> None:
        begun = time.monotonic()
        try:
            answer = self.exchange()
        except Refused as error:
            self._note(begun, Outcome.REFUSED, detail=str(error))
        except ResetUnanswered as error:
            self._note(begun, Outcome.RESET, detail=str(error))
        except Truncated as error:
            self._note(begun, Outcome.TRUNCATED, detail=str(error))
        except TimedOut as error:
            self._note(begun, Outcome.TIMEOUT, detail=str(error))
        else:
            self.judge(begun, answer)
            return
        self.finish()

    def judge(self, begun: float, answer: Answer) -> None:
        if answer.status != 200:
            self._note(begun, Outcome.BAD_STATUS, detail=f"{answer.status} {answer.body[:200]!r}")
            return
        try:
            body = answer.json()
            who = Who(body["pid"], body["generation"], body["version"])
        except (ValueError, LookupError, TypeError):
            self._note(begun, Outcome.WRONG_BODY, detail=repr(answer.body[:200]))
            return
        wrong = self.wrong(body)
        self._note(begun, Outcome.WRONG_BODY if wrong else Outcome.OK, who, wrong)

    def _note(self, begun: float, outcome: Outcome, who: Who | None = None, detail: str = "") -> None:
        self.tally.add(Record(self.label, begun, time.monotonic(), outcome, who, detail))

    def connect(self) -> Connection:
        self.connections += 1
        return Connection(self.address, self.timeout_s)

    def exchange(self) -> Answer:
        raise NotImplementedError

    def wrong(self, body: dict[str, object]) -> str:
        """What is wrong with an otherwise good body, or the empty text."""
        return ""

    def finish(self) -> None:
        """Let go of whatever connection is held."""


class NewConnectionGet(Client):
    """A connection for each request."""

    label = "new-connection"
    path = "/"

    def exchange(self) -> Answer:
        with self.connect() as connection:
            return connection.request("GET", self.path, headers={"connection": "close"})


class SlowGet(NewConnectionGet):
    """A request that takes the server half a second."""

    label = "slow"
    path = "/slow?s=0.5"


class KeepAliveGet(Client):
    """One connection for as long as the server keeps it."""

    label = "keep-alive"
    path = "/"
    _connection: Connection | None = None

    def exchange(self) -> Answer:
        if self._connection is not None and self._connection.idle_closed():
            self.finish()
        if self._connection is None:
            self._connection = self.connect()
        answer = self._connection.request("GET", self.path)
        if answer.says_close:
            self.finish()
        return answer

    def finish(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class KeepAlivePost(KeepAliveGet):
    """POSTs over kept-alive connections; a balancer must not send one twice, and so cannot hide a lost one."""

    label = "post"

    def exchange(self) -> Answer:
        if self._connection is not None and self._connection.idle_closed():
            self.finish()
        if self._connection is None:
            self._connection = self.connect()
        body = os.urandom(200)
        self._digest = hashlib.sha256(body).hexdigest()
        answer = self._connection.request("POST", "/upload", body)
        if answer.says_close:
            self.finish()
        return answer

    def wrong(self, body: dict[str, object]) -> str:
        return "" if body.get("digest") == self._digest else f"digest {body.get('digest')} is not {self._digest}"


class SlowUpload(Client):
    """POSTs 16 KiB in small pieces; the answer must carry the digest of what was sent."""

    label = "upload"
    pieces = 8
    piece_pause_s = 0.05

    def exchange(self) -> Answer:
        body = hashlib.sha256(str(time.monotonic_ns()).encode()).digest() * 512
        self._digest = hashlib.sha256(body).hexdigest()
        step = len(body) // self.pieces
        with self.connect() as connection:
            connection.send(connection.head("POST", "/upload", len(body), {"connection": "close"}))
            for start in range(0, len(body), step):
                threading.Event().wait(self.piece_pause_s)  # not self.over: an upload begun is finished
                connection.send(body[start : start + step])
            return connection.read_answer()

    def wrong(self, body: dict[str, object]) -> str:
        return "" if body.get("digest") == self._digest else f"digest {body.get('digest')} is not {self._digest}"


MIXED: tuple[type[Client], ...] = (KeepAliveGet, NewConnectionGet, SlowGet, SlowUpload)


class Load:
    """Runs the given clients inside a with block; leaving it lets requests under way finish."""

    def __init__(
        self,
        address: Address,
        clients: Sequence[type[Client]] = MIXED,
        pause_s: float = 0.005,
        timeout_s: float = 20.0,
    ) -> None:
        self.tally = Tally()
        figures.tallies.append(self.tally)
        self.clients = [make(address, self.tally, pause_s, timeout_s) for make in clients]

    def __enter__(self) -> Tally:
        for client in self.clients:
            client.start()
        return self.tally

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> Tally:
        for client in self.clients:
            client.over.set()
        for client in self.clients:
            client.join(client.timeout_s + 10)
            assert not client.is_alive(), f"{client.name} does not end"
        return self.tally


def ask_until(address: Address, wanted: Callable[[Answer], bool], deadline_s: float = 10.0) -> Answer:
    """Ask on new connections until an answer is as wanted."""
    from .conditions import eventually
    from .http import ExchangeError, get

    def asked() -> Answer | None:
        try:
            answer = get(address)
        except ExchangeError:
            return None
        return answer if wanted(answer) else None

    answer = eventually(asked, deadline_s, "an answer as wanted", pause_s=0.005)
    assert answer is not None
    return answer
