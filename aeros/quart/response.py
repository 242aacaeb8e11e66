"""JSON and plain responses made without the constructor's work on what is the same each time."""

from __future__ import annotations

from json import JSONEncoder, encoder
from typing import Any

from quart.json.provider import DefaultJSONProvider
from quart.wrappers import Response
from quart.wrappers.response import DataBody
from werkzeug.datastructures import Headers

_KINDS_MAX = 64
_templates: dict[str | None, dict[str, Any] | None] = {}


def data_response(data: str | bytes, mimetype: str | None = None) -> Response:
    """Return what `Response(data, mimetype=mimetype)` returns, attribute by attribute.

    The first response of a mimetype is really constructed and then serves as the pattern for the others, so that
    a default changed on the class (before the first request) or a newer Quart is followed.
    """
    try:
        template = _templates[mimetype]
    except KeyError:
        return _learn(data, mimetype)
    if template is None:
        return Response(data, mimetype=mimetype)
    body = data.encode() if type(data) is str else data
    headers = Headers.__new__(Headers)
    headers._list = [*template["headers"], ("Content-Length", str(len(body)))]
    response = Response.__new__(Response)
    response.__dict__ = {**template, "headers": headers, "response": DataBody(body)}  # type: ignore[arg-type]
    return response


def _learn(data: str | bytes, mimetype: str | None) -> Response:
    response = Response(data, mimetype=mimetype)
    if len(_templates) < _KINDS_MAX:
        attributes = dict(vars(response))
        headers = list(response.headers)
        usual = (
            attributes.keys() == {"headers", "_status", "_status_code", "timeout", "response"}
            and type(response.response) is DataBody
            and type(response.headers) is Headers
            and vars(response.headers) == {"_list": headers}
            and headers[-1:] == [("Content-Length", str(len(response.response.data)))]
        )
        attributes["headers"] = headers[:-1]
        del attributes["response"]
        _templates[mimetype] = attributes if usual else None
    return response


class LeanJSONProvider(DefaultJSONProvider):
    """Quart's JSON provider with its encoder kept. Subclass it where you would subclass DefaultJSONProvider."""

    _encoder: tuple[Any, JSONEncoder] | None = None
    #: (default, ensure_ascii, sort_keys) and what JSONEncoder makes anew for each value: the encoder in C. 4 % of a
    #: JSON request. It marks what it is in the middle of, so whoever uses it takes it away meanwhile.
    _ready: tuple[Any, Any] | None = None

    def response(self, *args: Any, **kwargs: Any) -> Any:
        """As DefaultJSONProvider.response."""
        app = self._app
        kind = type(self)
        if (
            app.response_class is not Response
            or len(args) != 1
            or kwargs
            or kind.dumps is not DefaultJSONProvider.dumps
            or self.compact is False
            or (self.compact is None and app.debug)
        ):
            return super().response(*args, **kwargs)
        return data_response(f"{self._encode(args[0])}\n", self.mimetype)

    def _encode(self, value: Any) -> str:
        settings = (self.default, self.ensure_ascii, self.sort_keys)
        ready = self.__dict__.pop("_ready", None)
        if ready is not None and ready[0] == settings:
            try:
                text = "".join(ready[1](value, 0))
            except BaseException:  # marks are left in it
                self._ready = _kept(settings, self._encoder[1]) if self._encoder else None
                raise
            self._ready = ready
            return text
        known = self._encoder
        if known is None or known[0] != settings:
            slow = JSONEncoder(
                default=self.default,
                ensure_ascii=self.ensure_ascii,
                sort_keys=self.sort_keys,
                separators=(",", ":"),
            )
            known = self._encoder = (settings, slow)
            self._ready = _kept(settings, slow)
        return known[1].encode(value)


def _kept(settings: tuple[Any, bool, bool], slow: JSONEncoder) -> tuple[Any, Any] | None:
    """Return `_ready`; None where this Python's json has no encoder in C, or one that takes other arguments."""
    make: Any = getattr(encoder, "c_make_encoder", None)
    quote = encoder.encode_basestring_ascii if slow.ensure_ascii else encoder.encode_basestring
    try:
        made = make({}, slow.default, quote, None, ":", ",", slow.sort_keys, slow.skipkeys, slow.allow_nan)
        return (settings, made) if "".join(made(_PROBE, 0)) == slow.encode(_PROBE) else None
    except TypeError:
        return None


_PROBE = {"a": [1, 2.5, None, True, {"b": "\u00e9"}]}
