"""The worker's access and error log: Hypercorn's options and atoms, each line written whole.

Handlers that the user set up (a Logger object, --log-config) are left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

from hypercorn.logging import Logger

from ...core.log.lines import lost_lines
from ...core.log.record_line import json_line
from ...core.log.sink import Sink
from ...core.process.files import open_log
from ...core.process.streams import standard
from ...core.text import continuation, one_line
from .access_log import Atoms, LeanLogger, fields

if TYPE_CHECKING:
    from hypercorn.config import Config

    from ...core.log.lines import LineLog

#: How soon lines that a reader had no room for are tried again.
_FLUSH_S = 0.1

_STREAMS = {"hypercorn.access": 1, "hypercorn.error": 2}
#: Hypercorn's.
_TEXT = "%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
_TIME = "[%Y-%m-%d %H:%M:%S %z]"


class WholeLineHandler(logging.Handler):
    """Writes each record with one os.write, so that the lines of N workers on one file stay whole."""

    def __init__(self, target: str, standard_fd: int, on_lost: Callable[[int], None] = lambda count: None) -> None:
        """target: a path, or "-" for `standard_fd`. on_lost: told how many lines were lost, once there is room again.
        Raises OSError."""
        super().__init__()
        self._target = target
        self._on_lost = on_lost
        self._fd = standard_fd
        self._sink = Sink(standard(standard_fd))
        self._flushing = False
        if target != "-":
            self.reopen()

    def reopen(self, kept: Sequence[str] = ()) -> None:
        """Open the file by its name again, unless it is among the `kept`. Keeps the old one and raises OSError if that
        fails."""
        if self._target == "-" or os.path.abspath(self._target) in kept:  # noqa: PTH100
            return
        fd = open_log(self._target)
        self._sink.close()
        lost = self._sink.lost
        if self._fd > 2:
            os.close(self._fd)
        self._fd, self._sink = fd, Sink(fd)
        self._sink.lost = lost

    def emit(self, record: logging.LogRecord) -> None:
        try:
            data = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        except Exception:
            self.handleError(record)
            return
        lost = self._sink.lost
        self._sink.write(data)
        if self._sink.waiting and not self._flushing:
            self._flush_later()
        elif lost:
            self._tell_lost(lost)

    def _tell_lost(self, before: int) -> None:
        """Say what was lost, if since `before` nothing more was, and nothing waits: there is room again."""
        if self._sink.lost == before and not self._sink.waiting:
            self._sink.lost = 0
            self._on_lost(before)

    def _flush_later(self) -> None:
        """The reader is slow: see to it that the last lines do not wait for the next request."""
        with contextlib.suppress(RuntimeError):  # from a thread: the next line will do
            asyncio.get_running_loop().call_later(_FLUSH_S, self._flush)
            self._flushing = True

    def _flush(self) -> None:
        self._flushing = False
        lost = self._sink.lost
        if not self._sink.flush():
            self._flush_later()
        elif lost:
            self._tell_lost(lost)


class _JSONFormatter(logging.Formatter):
    def __init__(self, slot: int, generation: int) -> None:
        super().__init__()
        self._who = {"worker": slot, "generation": generation, "pid": os.getpid()}

    def format(self, record: logging.LogRecord) -> str:
        return json_line(self, record, self._who, fields(record.args) if isinstance(record.args, Atoms) else None)


class _TextFormatter(logging.Formatter):
    """One line each, whatever is in it; lines of a traceback are indented, so that none looks like an entry."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        # The atoms of an access line are safe already, and its format may have tabs.
        record.message = text if isinstance(record.args, Atoms) else one_line(text)
        if self.usesTime():
            record.asctime = self.formatTime(record, self.datefmt)
        line = self.formatMessage(record)
        if record.exc_info:
            line += f"\n{continuation(self.formatException(record.exc_info))}".rstrip("\n")
        if record.stack_info:
            line += f"\n{continuation(record.stack_info)}".rstrip("\n")
        return line


def _give_root_a_log(resort: logging.Handler, level: str) -> None:
    """Have what reaches the root logger be written where the app has given it no handler.

    The last resort is that already, from warnings on. A handler at the root logger itself would be in the way: the
    app's own logging.basicConfig() does nothing where one is.
    """
    resort.setLevel(logging.NOTSET)
    root = logging.getLogger()
    if not root.handlers and root.level == logging.WARNING:  # as Python leaves it
        root.setLevel(level)


def _mind_handlers_nobody_chose(as_json: logging.Formatter | None, level: str) -> None:
    """Where the app has set up no logging, its errors go to the last resort of the logging module, or to a handler of
    Quart's: they hold what clients sent (the path of a request), and are ours to make lines of."""
    resort = logging.lastResort
    if resort is not None and resort.formatter is None:
        resort.setFormatter(as_json or _TextFormatter())
        if as_json is not None:
            _give_root_a_log(resort, level)
    for name in ("quart.logging", "flask.logging"):  # Quart takes Flask's, by its version
        handler = getattr(sys.modules.get(name), "default_handler", None)
        if isinstance(handler, logging.Handler) and type(handler.formatter) is logging.Formatter:
            handler.setFormatter(as_json or _TextFormatter(handler.formatter._fmt))


class WorkerLogs:
    """Sets up the logs of `config` for this worker; `reopen` after a rotation."""

    def __init__(
        self, config: Config, log_format: Literal["text", "json"], slot: int, generation: int, log: LineLog
    ) -> None:
        """log: is told what goes wrong later. Raises OSError when a file cannot be opened."""
        self._log = log
        self._handlers: list[WholeLineHandler] = []
        if config.logger_class is Logger and config.statsd_host is None:
            config.logger_class = LeanLogger
        if not issubclass(config.logger_class, Logger):
            return  # somebody's own, who may read these as they are
        as_json = _JSONFormatter(slot, generation) if log_format == "json" else None
        _mind_handlers_nobody_chose(as_json, (config.loglevel or "info").upper())
        formatter = as_json or _TextFormatter(_TEXT, _TIME)
        # As Hypercorn sets them up, but for the handler: its own would follow a link that somebody else has laid.
        for attribute, name in (("accesslog", "hypercorn.access"), ("errorlog", "hypercorn.error")):
            target = getattr(config, attribute)
            if target and isinstance(target, str):
                handler = WholeLineHandler(target, _STREAMS[name], partial(self._tell_lost, name.partition(".")[2]))
                handler.setFormatter(formatter)
                logger = logging.getLogger(name)
                logger.handlers, logger.propagate = [handler], name != "hypercorn.access"
                if config.loglevel is not None:
                    logger.setLevel(config.loglevel.upper())
                setattr(config, attribute, logger)
                self._handlers.append(handler)

    def _tell_lost(self, kind: str, count: int) -> None:
        self._log.warning(f"{lost_lines(count, kind)}: nobody read them, or there was no room", lost=count)

    def reopen(self, kept: Sequence[str]) -> None:
        """Open the log files by name again; one that cannot be opened keeps its old file, as do the `kept` paths."""
        for handler in self._handlers:
            try:
                handler.reopen(kept)
            except OSError as error:
                self._log.error(f"cannot reopen the log {error.filename}: {error.strerror}; the old file is kept")
