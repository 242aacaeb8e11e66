"""LeanQuart next to Quart: the same outcome, hook by hook, and the same for whoever overrides something."""

from __future__ import annotations

import asyncio
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest
import quart.ctx
import quart.globals
from apps import LeanApp
from lane_server import run, served
from quart import Quart, Request, abort, g, has_app_context, redirect, request, session, signals, url_for
from quart.json.provider import DefaultJSONProvider
from werkzeug.routing import MapAdapter

# Of a request: in Quart 0.22 a context of its own, later on the one there is.
CONTEXT = getattr(quart.ctx, "RequestContext", quart.ctx.AppContext)
CONTEXT_PROXY = getattr(quart.globals, "request_ctx", quart.globals.app_ctx)

KINDS = pytest.mark.parametrize("kind", [Quart, LeanApp])


def both(build: Any) -> list[Any]:
    """Return what `build(app)` returns, a coroutine, for a Quart and a LeanQuart."""
    results = []
    for kind in (Quart, LeanApp):
        app = kind("app")
        results.append(run(build(app)))
    return results


def test_hooks_and_signals_run_in_quarts_order() -> None:
    async def build(app: Quart) -> list[Any]:
        seen: list[Any] = []

        def note(name: str, result: Any = None) -> Any:
            async def hook(*args: Any) -> Any:
                seen.append((name, [type(arg).__name__ for arg in args], request.path if request else None))
                return args[0] if name.startswith("after") else result

            return hook

        def sync_note(*args: Any) -> None:
            seen.append(("sync", request.path))

        def listen(name: str) -> Any:
            async def receiver(sender: Any, **kwargs: Any) -> None:
                seen.append((name, sorted(kwargs), sender is app))

            return receiver

        app.before_request(note("before"))
        app.before_request(sync_note)
        app.after_request(note("after"))
        app.teardown_request(note("teardown"))
        app.teardown_appcontext(note("appcontext"))
        receivers = [listen(name) for name in SIGNALS]
        for name, receiver in zip(SIGNALS, receivers, strict=True):
            getattr(signals, name).connect(receiver, app)

        @app.url_value_preprocessor
        def values(endpoint: Any, view_args: Any) -> None:
            seen.append(("values", endpoint, view_args))

        @app.get("/ok/<int:number>")
        async def ok(number: int) -> Any:
            g.x = number
            return {"n": number}

        @app.get("/bad")
        async def bad() -> Any:
            raise ValueError("x")

        client = app.test_client()
        for path in ("/ok/3", "/none", "/bad"):
            response = await client.get(path)
            seen.append((response.status_code, await response.get_data()))
        return seen

    quart, lean = both(build)
    assert quart == lean
    assert len(quart) > 30


SIGNALS = [
    "request_started",
    "request_finished",
    "request_tearing_down",
    "appcontext_pushed",
    "appcontext_popped",
    "appcontext_tearing_down",
    "got_request_exception",
]


def test_returned_values_become_the_same_responses() -> None:
    async def build(app: Quart) -> list[Any]:
        values: list[Any] = [
            *({"b": 1, "a": [1, None, "\u20ac"]}, [1, 2], "text", "", b"bytes"),
            {"d": date(2020, 1, 2), "u": uuid.UUID(int=5)},
            *(("text", 201), ({"a": 1}, 202, {"X-A": "b"}), ("text", {"X-A": "b"}), ([1], [("X-A", "b")])),
            *((b"raw", {"Content-Type": "a/b"}), (b"raw", 203), ("text", None), ("text", 204, [("X-A", "b")]), ("a",)),
            *((None), 5, ("a", 1, 2, 3), {"bad": object()}),
        ]

        @app.get("/<int:number>")
        async def view(number: int) -> Any:
            return values[number]

        seen = []
        client = app.test_client()
        for number in range(len(values)):
            response = await client.get(f"/{number}")
            seen.append((response.status, list(response.headers), await response.get_data()))
        app.json.compact = False  # type: ignore[attr-defined]
        app.json.sort_keys = False  # type: ignore[attr-defined]
        seen.append(await (await client.get("/0")).get_data())
        app.json.compact = True  # type: ignore[attr-defined]
        app.json.ensure_ascii = False  # type: ignore[attr-defined]
        seen.append(await (await client.get("/0")).get_data())
        app.debug = True
        app.json.compact = None  # type: ignore[attr-defined]
        seen.append(await (await client.get("/0")).get_data())
        return seen

    quart, lean = both(build)
    assert quart == lean


def test_two_responses_share_nothing() -> None:
    async def build(app: Quart) -> list[Any]:
        @app.get("/")
        async def view() -> Any:
            return {"a": 1}

        @app.after_request
        async def mark(response: Any) -> Any:
            response.headers["X-N"] = str(len(response.headers))
            response.headers["Content-Type"] = "text/plain"
            response.status_code = 203
            return response

        client = app.test_client()
        return [list((await client.get("/")).headers) for _ in range(3)]

    quart, lean = both(build)
    assert quart == lean


def test_routing_follows_the_map() -> None:
    async def build(app: Quart) -> list[Any]:
        seen: list[Any] = []

        async def view(**kwargs: Any) -> Any:
            seen.append((request.endpoint, kwargs, request.view_args, request.url_rule.rule, url_for("a")))
            kwargs["changed"] = True
            assert request.view_args is not None
            request.view_args["changed"] = True
            return "ok"

        app.add_url_rule("/a", "a", view)
        app.add_url_rule("/b/", "b", view, defaults={"d": 1}, methods=["POST", "GET"])
        app.add_url_rule("/c", "c", view, strict_slashes=False)
        client = app.test_client()

        async def get(path: str, method: str = "GET") -> None:
            response = await client.open(path, method=method)
            headers = response.headers
            seen.append((path, method, response.status_code, headers.get("Location"), headers.get("Allow")))

        for _ in range(2):
            for path in ("/a", "/a?x=y", "/b/", "/b", "/c", "/c/", "/none", "//a", "/a/"):
                await get(path)
            for method in ("POST", "OPTIONS", "HEAD", "DELETE"):
                await get("/a", method)
                await get("/b/", method)
        app.url_map.add(app.url_rule_class("/late", endpoint="late", methods={"GET"}))
        app.view_functions["late"] = view
        await get("/late")
        app.url_map.add(app.url_rule_class("/a", endpoint="late", methods={"GET"}, subdomain=""))
        await get("/a")
        app.url_map.merge_slashes = False
        await get("//a")
        return seen

    quart, lean = both(build)
    assert quart == lean


@KINDS
def test_hosts(kind: type[Quart]) -> None:
    async def check() -> list[Any]:
        app = kind("app", host_matching=True, static_host="s")
        seen: list[Any] = []

        for host in ("one.example", "<name>.two"):

            @app.route("/", host=host, endpoint=host)
            async def view(name: str = "") -> str:
                request.headers["Host"] = "changed"
                return f"{request.endpoint} {name} {request.host} {request.url}"

        async with served(app) as server:
            hosts = ("one.example", "ONE.example", "one.example:80", "x.two", "y.two", "other")
            for host in (*hosts, *hosts):
                data, _ = await server.exchange(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                seen.append(data.partition(b"\r\n")[0] + data.rpartition(b"\r\n")[2])
        return seen

    HOSTS.append(run(check()))
    assert HOSTS[0] == HOSTS[-1]
    assert b"200" in HOSTS[0][0]


HOSTS: list[Any] = []


def test_server_name_and_subdomains() -> None:
    async def build(app: Quart) -> list[Any]:
        app.config["SERVER_NAME"] = "example.org"
        app.subdomain_matching = True

        @app.route("/", subdomain="sub", endpoint="sub")
        @app.route("/", endpoint="main")
        async def view() -> str:
            return f"{request.endpoint} {url_for('main', _external=True)}"

        seen = []
        async with served(app) as server:
            for host in ("example.org", "sub.example.org", "example.org:80"):
                data, _ = await server.exchange(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                seen.append(data.partition(b"\r\n")[0] + data.rpartition(b"\r\n")[2])
        return seen

    quart, lean = both(build)
    assert quart == lean
    assert b"sub" in lean[1]


def test_trusted_hosts() -> None:
    class Careful(Request):
        trusted_hosts = ["good"]  # noqa: RUF012

    async def build(app: Quart) -> list[Any]:
        app.request_class = Careful

        @app.route("/")
        async def view() -> str:
            return request.host

        seen = []
        async with served(app) as server:
            for host in ("good", "bad", "good"):
                data, _ = await server.exchange(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                seen.append(data.partition(b"\r\n")[0])
        return seen

    quart, lean = both(build)
    assert quart == lean


def test_sessions() -> None:
    async def build(app: Quart) -> list[Any]:
        seen: list[Any] = []

        @app.get("/set")
        async def set_() -> str:
            session["x"] = 5
            return ""

        @app.get("/get")
        async def get() -> Any:
            return {"x": session.get("x"), "kind": type(session._get_current_object()).__name__}

        client = app.test_client()
        for secret in (None, "secret"):
            app.secret_key = secret
            for path in ("/set", "/get", "/get"):
                response = await client.get(path)
                seen.append((response.status_code, await response.get_data(), "Set-Cookie" in response.headers))
                seen.append(response.headers.get("Vary"))
        return seen

    quart, lean = both(build)
    assert quart == lean
    assert lean[4][1] == b'{"kind":"SecureCookieSession","x":5}\n' or lean[-2][0] == 200


@pytest.mark.parametrize(
    "name",
    ["ensure_async", "full_dispatch_request", "preprocess_request", "dispatch_request", "finalize_request",
     "process_response", "make_response", "do_teardown_request", "do_teardown_appcontext", "handle_request",
     "request_context", "app_context", "create_url_adapter", "handle_user_exception", "raise_routing_exception"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["class", "instance"])
def test_overrides_are_called(where: str, name: str) -> None:
    calls: list[str] = []

    async def check() -> None:
        original = getattr(LeanApp, name)

        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return original(self, *args, **kwargs)

        kind = type("Mine", (LeanApp,), {name: method} if where == "class" else {})
        app = kind("app")
        if where == "instance":
            setattr(app, name, method.__get__(app))

        async def nothing() -> None:
            pass

        @app.get("/")
        async def view() -> str:
            app.add_background_task(nothing)  # in an app context, which not every Quart makes for a request
            return "ok"

        @app.get("/missing")
        async def missing() -> None:
            abort(404)

        async with served(app) as server:
            data, _ = await server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert data.endswith(b"ok")
            await server.exchange(b"GET /missing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await server.exchange(b"GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    run(check())
    assert calls


@KINDS
def test_a_json_provider_of_ones_own(kind: type[Quart]) -> None:
    class Provider(DefaultJSONProvider):
        def dumps(self, obj: Any, **kwargs: Any) -> str:
            return "own " + super().dumps(obj, **kwargs)

    async def check() -> None:
        class Mine(kind):  # type: ignore[misc,valid-type]
            json_provider_class = Provider

        app = Mine("app")

        @app.get("/")
        async def view() -> Any:
            return {"a": 1}

        assert (await (await app.test_client().get("/")).get_data()).startswith(b"own")

    run(check())


@KINDS
def test_a_default_of_ones_own(kind: type[Quart]) -> None:
    async def check() -> None:
        app = kind("app")
        app.json.default = lambda value: "own"  # type: ignore[attr-defined]

        @app.get("/")
        async def view() -> Any:
            return {"a": object()}

        assert await (await app.test_client().get("/")).get_data() == b'{"a":"own"}\n'

    run(check())


def test_the_encoder_that_is_kept_is_used_by_one_at_a_time() -> None:
    """In a value's own default, in other threads, after an error, and with settings that change."""
    app = LeanApp("app")
    provider = app.json

    class Nested:
        def __init__(self, depth: int) -> None:
            self.depth = depth

    class Failing:
        pass

    def default(value: Any) -> Any:
        if isinstance(value, Nested):
            return {"inner": provider.response({"a": value.depth}).status_code, "depth": value.depth}
        raise LookupError("no such value")

    def text(value: Any) -> str:
        data: bytes = provider.response(value).response.data  # type: ignore[attr-defined]
        return data.decode()

    provider.default = default  # type: ignore[method-assign,assignment]
    assert text([Nested(1), Nested(2)]) == '[{"depth":1,"inner":200},{"depth":2,"inner":200}]\n'
    for _ in range(3):
        with pytest.raises(LookupError):
            text({"a": [1, Failing()]})
        circle: list[Any] = [1]
        circle.append(circle)
        with pytest.raises(ValueError, match="Circular"):
            text(circle)
        assert text({"é": 1.5, "a": [None, True, "\n"], "s": "x"}) == '{"a":[null,true,"\\n"],"s":"x","\\u00e9":1.5}\n'
    provider.ensure_ascii = False  # type: ignore[attr-defined]
    assert text("é") == '"é"\n'
    provider.sort_keys = False  # type: ignore[attr-defined]
    assert text({"b": 1, "a": 2}) == '{"b":1,"a":2}\n'

    def many(number: int) -> bool:
        value = {"n": [number, {"x": str(number)}] * 50}
        return all(json.loads(text(value)) == value for _ in range(200))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(many, range(8)))


def test_contexts_are_quarts() -> None:
    async def check() -> None:
        app = LeanApp("app")

        @app.get("/")
        async def view() -> Any:
            context = CONTEXT_PROXY._get_current_object()
            assert isinstance(context, CONTEXT)
            assert isinstance(context.url_adapter, MapAdapter)
            assert type(request._get_current_object()) is Request
            copied = context.copy()
            assert type(copied) is type(context)

            @quart_copy
            async def later() -> str:
                return request.path

            return await asyncio.create_task(later())

        from quart import copy_current_request_context as quart_copy

        async with served(app) as server:
            data, _ = await server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert data.endswith(b"\r\n\r\n/")

    run(check())


def test_redirects_blueprints_and_errors() -> None:
    from quart import Blueprint

    async def build(app: Quart) -> list[Any]:
        seen: list[Any] = []
        blueprint = Blueprint("b", __name__, url_prefix="/b")

        @blueprint.before_request
        async def before() -> None:
            seen.append(("blueprint before", request.blueprint, request.blueprints))

        @blueprint.after_request
        async def after(response: Any) -> Any:
            seen.append("blueprint after")
            return response

        @blueprint.teardown_request
        async def teardown(error: Any) -> None:
            seen.append(("blueprint teardown", error))

        @blueprint.errorhandler(KeyError)
        async def handler(error: Any) -> Any:
            return "handled", 418

        @blueprint.get("/x")
        async def x() -> Any:
            raise KeyError("x")

        @app.get("/r")
        async def r() -> Any:
            return redirect(url_for("b.x"))

        @app.get("/sync")
        def sync() -> Any:
            return {"path": request.path}

        app.register_blueprint(blueprint)
        client = app.test_client()
        for path in ("/b/x", "/r", "/sync", "/sync"):
            response = await client.get(path)
            seen.append((response.status_code, await response.get_data()))
        return seen

    quart, lean = both(build)
    assert quart == lean


def test_teardown_that_fails() -> None:
    async def build(app: Quart) -> list[Any]:
        seen: list[Any] = []

        def failing(name: str) -> Any:
            async def teardown(error: BaseException | None) -> None:
                seen.append((name, type(error).__name__))
                raise ValueError(name)

            return teardown

        async def popped(sender: Any, **kwargs: Any) -> None:
            seen.append(("popped", sorted(kwargs)))
            raise ValueError("popped")

        app.teardown_request(failing("one"))
        app.teardown_request(failing("two"))
        app.teardown_appcontext(failing("three"))
        signals.appcontext_popped.connect(popped, app)

        @app.get("/<name>")
        async def view(name: str) -> Any:
            if name == "cancelled":
                raise asyncio.CancelledError
            return name

        for name in ("ok", "cancelled"):
            context = app.test_request_context(f"/{name}")
            try:
                await app.handle_request(context.request)
            except BaseException as error:
                seen.append(shape(error))
        return seen

    quart, lean = both(build)
    assert quart == lean
    assert len(lean) >= 4


def shape(error: BaseException | None) -> Any:
    """Return all that matters of an exception: its kind, words, parts and what it came on top of."""
    if error is None:
        return None
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return type(error).__name__, str(error), [shape(part) for part in parts], shape(error.__context__)


def test_contexts_that_are_pushed_and_popped_by_hand() -> None:
    async def build(app: Quart) -> list[Any]:
        seen: list[Any] = []

        @app.get("/")
        async def view() -> str:
            return ""

        @app.teardown_request
        async def teardown(error: BaseException | None) -> None:
            seen.append(("request", type(error).__name__))

        @app.teardown_appcontext
        async def teardown_app(error: BaseException | None) -> None:
            seen.append(("app", type(error).__name__))

        def make(kind: str) -> Any:
            return app.app_context() if kind == "app" else app.test_request_context("/none" if kind == "none" else "/")

        async def attempt(name: str, awaitable: Any) -> None:
            try:
                await awaitable
                seen.append((name, bool(request), has_app_context(), request.url_rule and request.url_rule.rule))
            except BaseException as error:
                seen.append((name, type(error).__name__, str(error).replace(str(id(context)), "ID").split("(")[0]))

        for kind in ("app", "request", "none"):
            context = make(kind)
            other = make("app")
            await attempt("pop of none", context.pop())
            await attempt("push", context.push())
            await attempt("push again", context.push())
            await attempt("pop", context.pop())
            await attempt("other", other.push())
            await attempt("wrong pop", context.pop())
            await attempt("other's pop", other.pop(ValueError("x")))
            await attempt("copy", context.copy().push())
        return seen

    async def in_a_task(app: Quart) -> list[Any]:
        return await asyncio.create_task(build(app))  # whose contexts are its own

    quart, lean = both(in_a_task)
    assert quart == lean


def test_a_response_streamed_with_its_context() -> None:
    from quart import stream_with_context

    async def build(app: Quart) -> list[Any]:
        seen: list[Any] = []

        @app.teardown_request
        async def teardown(error: BaseException | None) -> None:
            seen.append(("teardown", type(error).__name__))

        @app.get("/<int:number>")
        async def view(number: int) -> Any:
            session["n"] = number

            @stream_with_context
            async def pieces() -> Any:
                yield f"{request.path} {request.view_args}"
                yield f"{session['n']}"

            return pieces()

        app.secret_key = "secret"
        for _ in range(2):
            response = await app.test_client().get("/5")
            seen.append((await response.get_data(), response.status_code, response.headers.get("Vary")))
        return seen

    quart, lean = both(build)
    assert quart == lean
    assert lean[-1][:2] == ("/5 {'number': 5}5", 200) or lean[-1][:2] == (b"/5 {'number': 5}5", 200)
