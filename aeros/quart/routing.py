"""URL binding and matching that remember what cannot have changed.

A werkzeug Map works out the same host and walks the same tree for every request. LeanMap keeps both results: the bound
host per Host header, and the rule per path for rules without variable parts, of which there are only as many as were
declared. Adding a rule, or setting anything on the map, forgets everything.
"""

from __future__ import annotations

from typing import Any

from quart.routing import QuartMap
from quart.wrappers import BaseRequestWebsocket
from werkzeug.routing import MapAdapter
from werkzeug.routing.rules import RuleFactory
from werkzeug.sansio.request import Request as SansIORequest

HOSTS_MAX = 256
"""Clients choose the Host header; beyond this many nothing more is remembered."""

RULES_MAX = 4096

_own_host = SansIORequest.__dict__["host"]


class LeanAdapter(MapAdapter):
    """A MapAdapter that asks its map's memory before it walks the rules."""

    map: LeanMap

    def match(
        self,
        path_info: str | None = None,
        method: str | None = None,
        return_rule: bool = False,
        query_args: Any = None,
        websocket: bool | None = None,
    ) -> tuple[Any, Any]:
        """As MapAdapter.match."""
        if path_info is not None or method is not None or query_args is not None or websocket is not None:
            return super().match(path_info, method, return_rule, query_args, websocket)  # type: ignore[call-overload,no-any-return]
        rules = self.map
        domain = self.server_name if rules.host_matching or self.subdomain is None else self.subdomain
        key = (self.path_info, self.default_method, domain, self.websocket)
        if not rules._remap:
            rule = rules._known.get(key)
            if rule is not None:
                return (rule if return_rule else rule.endpoint), dict(rule.defaults or ())
        rule, arguments = super().match(return_rule=True)
        if not rule._converters and len(rules._known) < RULES_MAX:
            rules._known[key] = rule
        return (rule if return_rule else rule.endpoint), arguments


class LeanMap(QuartMap):
    """A QuartMap whose adapters remember; what it matches, builds and raises is QuartMap's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.__dict__["_known"] = {}
        self.__dict__["_hosts"] = {}
        super().__init__(*args, **kwargs)

    _known: dict[tuple[str, str, str, bool], Any]
    _hosts: dict[tuple[str, str, str | None], tuple[str, str, str | None]]

    def __setattr__(self, name: str, value: object) -> None:
        # Every setting of a map has a say in binding or matching, and setting one is rare.
        super().__setattr__(name, value)
        self._known.clear()
        self._hosts.clear()

    def add(self, rulefactory: RuleFactory) -> None:
        super().add(rulefactory)  # sets _remap, and so forgets

    def bind_to_request(
        self, request: BaseRequestWebsocket, subdomain: str | None, server_name: str | None
    ) -> MapAdapter:
        """As QuartMap.bind_to_request."""
        if server_name is not None or request.trusted_hosts is not None or "host" in request.__dict__:
            return super().bind_to_request(request, subdomain, server_name)
        header = request.headers.get("host")
        if header is None or type(request).host is not _own_host:
            return super().bind_to_request(request, subdomain, server_name)
        key = (request.scheme, header, subdomain)
        known = self._hosts.get(key)
        if known is None:
            adapter = super().bind_to_request(request, subdomain, server_name)
            if len(self._hosts) < HOSTS_MAX and len(header) < 256:
                self._hosts[key] = (request.host, adapter.server_name, adapter.subdomain)
            adapter.__class__ = LeanAdapter
            return adapter
        # QuartMap asks the request for its host, which keeps the answer; a handler may change the header later on.
        request.__dict__["host"], bound_name, bound_subdomain = known
        return LeanAdapter(
            self,
            bound_name,
            request.root_path,
            bound_subdomain,
            request.scheme,
            request.path,
            request.method,
            request.query_string.decode(),
        )
