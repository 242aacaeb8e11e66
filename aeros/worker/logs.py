"""The worker's access and error log: Hypercorn's options and atoms, each line written whole.

Handlers that the user set up (a Logger object, --log-config) are left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Literal

from hypercorn.logging import Logger

from ..core.record_line import json_line
from ..core.sink import Sink
from .access import Atoms, LeanLogger

if TYPE_CHECKING:
    from hypercorn.config import Config

#: How soon lines that a reader had no room for are tried again.
_FLUSH_S = 0.1

_STREAMS = {"hypercorn.access": 1, "hypercorn.error": 2}


class WholeLineHandler(logging.Handler):
    """Writes each record with one os.write, so that the lines of N workers on one file stay whole."""

    def __init__(self, target: str, standard_fd: int) -> None:
        """target: a path, or "-" for `standard_fd`. Raises OSError."""
        super().__init__()
        self._target = target
        self._fd = standard_fd
        self._sink = Sink(standard_fd)
        self._flushing = False
        if target != "-":
            self.reopen()

    def reopen(self) -> None:
        """Open the file by its name again. Keeps the old one and raises OSError if that fails."""
        if self._target == "-":
            return
        fd = os.open(self._target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if self._fd > 2:
            os.close(self._fd)
        self._sink.close()
        self._fd, self._sink = fd, Sink(fd)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            data = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        except Exception:
            self.handleError(record)
            return
        self._sink.write(data)
        if self._sink.waiting and not self._flushing:
            self._flush_later()

    def _flush_later(self) -> None:
        """The reader is slow: see to it that the last lines do not wait for the next request."""
        with contextlib.suppress(RuntimeError):  # from a thread: the next line will do
            asyncio.get_running_loop().call_later(_FLUSH_S, self._flush)
            self._flushing = True

    def _flush(self) -> None:
        self._flushing = False
        if not self._sink.flush():
            self._flush_later()


class _JSONFormatter(logging.Formatter):
    def __init__(self, slot: int, generation: int) -> None:
        super().__init__()
        self._who = {"slot": slot, "generation": generation, "pid": os.getpid()}

    def format(self, record: logging.LogRecord) -> str:
        request = str(record.args["{x-request-id}i"]) if isinstance(record.args, Atoms) else ""
        return json_line(self, record, self._who, "" if request == "-" else request)


class WorkerLogs:
    """Sets up the logs of `config` for this worker; `reopen` after a rotation."""

    def __init__(self, config: Config, log_format: Literal["text", "json"], slot: int, generation: int) -> None:
        self._handlers: list[WholeLineHandler] = []
        if config.logger_class is Logger and config.statsd_host is None:
            config.logger_class = LeanLogger
        if config.logconfig is not None or config.logconfig_dict is not None:
            return
        for logger, target in (
            (config.log.access_logger, config.accesslog),
            (config.log.error_logger, config.errorlog),
        ):
            if logger is None or not isinstance(target, str) or len(logger.handlers) != 1:
                continue
            (theirs,) = logger.handlers
            handler = WholeLineHandler(target, _STREAMS.get(logger.name, 2))
            handler.setFormatter(theirs.formatter if log_format == "text" else _JSONFormatter(slot, generation))
            logger.handlers = [handler]
            theirs.close()
            self._handlers.append(handler)

    def reopen(self) -> None:
        """Open the log files by name again; one that cannot be opened keeps its old file."""
        for handler in self._handlers:
            try:
                handler.reopen()
            except OSError as error:
                print(f"cannot reopen a log file: {error}", file=sys.stderr)  # noqa: T201
