"""Access atoms on demand are Hypercorn's atoms."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from hypercorn.config import Config
from hypercorn.logging import AccessLogAtoms, Logger

from aeros.worker.report.access_log import Atoms, LeanLogger, LeanStatsdLogger, access_logger

SCOPE: dict[str, Any] = {
    "type": "http",
    "http_version": "1.1",
    "method": "POST",
    "scheme": "https",
    "path": "/a b",
    "query_string": b"c=d",
    "headers": [(b"user-agent", b"me"), (b"referer", b"there"), (b"X-Raw", b"r"), (b"x-raw", b"last")],
    "client": ("1.2.3.4", 56),
}
RESPONSE = {"status": 201, "headers": [(b"Content-Length", b"7"), (b"x-out", b"o")]}
KEYS = [
    *("h", "l", "r", "R", "s", "st", "S", "m", "U", "Uq", "q", "H", "b", "B", "f", "a", "T", "D", "L", "p", "nonsense"),
    *("{user-agent}i", "{X-Raw}i", "{none}i", "{x-out}o", "{Content-Length}o", "{none}o", "{PATH}e", "{none}e"),
]


@pytest.mark.parametrize(
    ("scope", "response"),
    [
        (SCOPE, RESPONSE),
        (SCOPE, None),
        ({**SCOPE, "client": None, "query_string": b""}, {"status": 799, "headers": []}),
        ({**SCOPE, "client": ("unix",)}, RESPONSE),
        ({**{k: v for k, v in SCOPE.items() if k != "method"}, "type": "websocket"}, RESPONSE),
    ],
)
@pytest.mark.parametrize("key", KEYS)
def test_atoms(key: str, scope: dict[str, Any], response: Any) -> None:
    theirs = str(AccessLogAtoms(scope, response, 1.25)[key])  # type: ignore[arg-type]
    if key in ("r", "R", "H"):
        theirs = re.sub(r"1\.1$", "HTTP/1.1", theirs)  # Hypercorn's has the number alone
    assert str(Atoms(scope, response, 1.25)[key]) == theirs


def test_the_default_format() -> None:
    line = Config.access_log_format
    ours, theirs = line % Atoms(SCOPE, RESPONSE, 0.5), line % AccessLogAtoms(SCOPE, RESPONSE, 0.5)  # type: ignore[arg-type]
    assert ours == theirs.replace('1.1"', 'HTTP/1.1"')


class Keep(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def logged(**settings: Any) -> tuple[Config, Keep]:
    keep = Keep()
    logger = logging.Logger("access", logging.INFO)
    logger.addHandler(keep)
    config = Config()
    config.errorlog = None
    config.accesslog = logger
    for name, value in settings.items():
        setattr(config, name, value)
    return config, keep


def drive(coroutine: Any) -> None:
    with pytest.raises(StopIteration):
        coroutine.send(None)


@pytest.mark.parametrize("kind", [Logger, LeanLogger])
def test_both_loggers_write_the_line(kind: type[Logger]) -> None:
    config, keep = logged(logger_class=kind, access_log_format="%(m)s %(s)s %(D)s")
    access = access_logger(config)
    assert access is not None
    drive(access(SCOPE, RESPONSE, 0.001))
    assert keep.lines == ["POST 201 1000"]


def test_no_log_costs_no_call() -> None:
    config = Config()
    config.errorlog = None
    assert access_logger(config) is None


def test_a_logger_of_the_users_own_is_called() -> None:
    seen = []

    class Own(Logger):
        async def access(self, request: Any, response: Any, request_time: float) -> None:
            seen.append((request["path"], response["status"]))

    config, _ = logged(logger_class=Own)
    access = access_logger(config)
    assert access is not None
    drive(access(SCOPE, RESPONSE, 0.0))
    assert seen == [("/a b", 201)]


@pytest.mark.parametrize("lean", [False, True])
def test_statsd(lean: bool) -> None:
    from hypercorn.asyncio.statsd import StatsdLogger

    config, keep = logged(statsd_host="127.0.0.1:1", access_log_format="%(s)s")
    config.logger_class = LeanStatsdLogger if lean else StatsdLogger
    sent: list[bytes] = []
    access = access_logger(config)
    assert access is not None

    async def keep_sent(message: bytes) -> None:
        sent.append(message)

    config.log._socket_send = keep_sent  # type: ignore[attr-defined]
    drive(access(SCOPE, RESPONSE, 0.002))
    assert keep.lines == ["201"]
    assert b"hypercorn.requests:1|c|@1.0" in sent
    assert b"hypercorn.request.status.201:1|c|@1.0" in sent
