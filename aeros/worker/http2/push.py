"""Server push: a request the server makes in the client's place, and answers (RFC 9113, section 8.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hypercorn.utils import build_and_validate_headers

from ..http1.parser import RequestRefused
from .frames import StreamFault
from .hpack_encoder import encode
from .request import request_head

if TYPE_CHECKING:
    from .hpack_decoder import Field
    from .requests import Requests
    from .stream import Stream


def promise(requests: Requests, stream: Stream, path: str, headers: Iterable[Field]) -> None:
    """Promise the response to a GET of the path, and have the app make it. Nothing, where the client wants none."""
    streams = requests.streams
    fields = build_and_validate_headers(headers)
    if (
        not streams.accepts_push
        or streams.pushed >= streams.push_limit
        or stream.gone
        or stream.local_closed
        or not stream.id & 1  # a pushed response cannot promise more
        or requests.departure.last_stream is not None
    ):
        return
    host = stream.host
    fields = [(b":method", b"GET"), (b":path", path.encode()), (b":scheme", stream.scheme.encode()), *fields]
    fields.insert(3, (b":authority", host))
    limits = stream.service.limits
    block = b"".join(encode(name.lower(), value) for name, value in fields)
    try:
        head = request_head(fields, len(block), limits.request_line_bytes, limits.request_fields)
    except (StreamFault, RequestRefused) as error:
        raise ValueError(f"cannot promise {path!r}: {error}") from error
    promised = streams.begin_pushed()
    streams.output.write_block(stream.id, block, False, promised.id)
    requests.begin(promised, head)
