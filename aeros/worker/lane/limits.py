"""What one client, and all of them together, may ask of a worker. None switches a limit off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.record import record

if TYPE_CHECKING:
    from ...options import Options


@record(kw_only=True)
class Limits:
    """The limits of one worker; what each means stands in options/table.py. Defaults are those of the options."""

    header_timeout_s: float | None = 10.0
    min_data_rate: int | None = 240
    write_timeout_s: float | None = 30.0
    request_line_bytes: int = 8 << 10
    request_fields: int = 256
    body_bytes: int | None = None
    body_memory_bytes: int | None = 256 << 20
    connections: int | None = None
    concurrency: int | None = None
    queue: int | None = 0
    queue_timeout_s: float | None = None
    request_timeout_s: float | None = None

    @classmethod
    def of(cls, options: Options) -> Limits:
        concurrency = options.max_concurrency
        queue = options.request_queue
        if queue is None and options.queue_timeout_s is None:
            queue = (concurrency or 0) // 2
        return cls(
            header_timeout_s=options.header_timeout_s,
            min_data_rate=options.min_data_rate,
            write_timeout_s=options.write_timeout_s,
            request_line_bytes=options.max_request_line_bytes,
            request_fields=options.max_request_fields,
            body_bytes=options.max_body_size_bytes,
            body_memory_bytes=options.body_memory_bytes,
            connections=options.max_connections,
            concurrency=concurrency,
            queue=queue,
            queue_timeout_s=options.queue_timeout_s,
            request_timeout_s=options.request_timeout_s,
        )
