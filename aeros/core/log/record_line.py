"""Records of the logging module as the JSON lines that Aeros itself writes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..clock import iso_time
from ..request_id import request_id
from ..text import json_text


def json_line(
    formatter: logging.Formatter,
    record: logging.LogRecord,
    who: Mapping[str, Any],
    fields: Mapping[str, Any] | None = None,
) -> str:
    """Return the record on one line, without its end. who: worker, generation, pid. fields: more of what happened."""
    line: dict[str, Any] = {
        "time": iso_time(record.created),
        "level": record.levelname.lower(),
        "logger": record.name,
        **who,
        "message": _message(record),
    }
    if found := request_id():
        line["request_id"] = found
    line |= fields or {}
    if record.exc_info:
        line["exception"] = formatter.formatException(record.exc_info)
    elif record.exc_text:
        line["exception"] = record.exc_text
    if record.stack_info:
        line["stack"] = record.stack_info
    return json_text(line)


def _message(record: logging.LogRecord) -> str:
    """Return its text. A wrong number of arguments costs the arguments, not the line."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} {record.args!r}"
