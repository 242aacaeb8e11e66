"""For the app's own logging, which Aeros leaves alone: a formatter and a filter to put on its handlers."""

from __future__ import annotations

import logging
import os

from .core.log.record_line import json_line
from .core.request_id import request_id
from .worker import context


class JSONFormatter(logging.Formatter):
    """Writes records as Aeros writes its own with --log-format json: time, level, logger, worker (its slot),
    generation, pid, message, and request_id, exception and stack where there are."""

    def format(self, record: logging.LogRecord) -> str:
        worker = context.current
        where = {"worker": worker.slot, "generation": worker.generation} if worker is not None else {}
        return json_line(self, record, {**where, "pid": os.getpid()})


class RequestIdFilter(logging.Filter):
    """Gives each record `request_id`, "-" outside of a request, for formats such as "%(request_id)s %(message)s".

    Put it on handlers: a filter of a logger does not see what other loggers hand on to it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id() or "-"
        return True
