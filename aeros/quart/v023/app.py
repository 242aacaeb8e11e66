"""LeanQuart for Quart 0.23, whose methods it follows and into which it reaches; see lean_quart.

In 0.23 one AppContext is the context of an app, of a request and of a WebSocket, handed as `ctx` to the methods; all
teardown functions run, and what they raise comes out together in one BaseExceptionGroup.
"""

from __future__ import annotations

import asyncio
from typing import Any

from quart.ctx import AppContext
from quart.globals import _cv_app
from quart.signals import (
    appcontext_popped,
    appcontext_pushed,
    appcontext_tearing_down,
    request_finished,
    request_started,
    request_tearing_down,
)
from quart.wrappers import Request
from werkzeug.exceptions import HTTPException

from ..base import LeanBase, exited, impossible_session


class LeanContext(AppContext):
    """Quart's AppContext; sends its signals when somebody listens, and opens no session where there can be none."""

    def match_request(self) -> None:
        request = self._request
        if request is None:
            super().match_request()
            return
        try:
            request.url_rule, request.view_args = self.url_adapter.match(return_rule=True)  # type: ignore[assignment, union-attr]
        except HTTPException as error:
            request.routing_exception = error

    async def push(self) -> None:
        self._push_count += 1
        if self._cv_token is not None:
            return
        self._cv_token = _cv_app.set(self)
        app = self.app
        if appcontext_pushed.receivers:
            # So spelled by Quart: receivers get it as an argument, and one that is no coroutine function is an error.
            await appcontext_pushed.send_async(app, _async_wrapper=app.ensure_async)
        if self._request is not None or self._websocket is not None:
            if self._session is None:
                self._session = impossible_session(app)
                if self._session is None:
                    await self._open_session()
            if self.url_adapter is not None:
                self.match_request()

    async def pop(self, exc: BaseException | None = None) -> None:
        if self._push_count != 1 or self._websocket is not None or _cv_app.get(None) is not self:
            # Not the last pop, or one that is an error.
            await super().pop(exc)
            return
        self._push_count = 0
        app = self.app
        errors: list[BaseException] = []
        request = self._request
        if request is not None:
            try:
                await app.do_teardown_request(self, exc)
            except BaseException as error:
                errors.append(error)
            if type(request) is not Request or request._files:  # all that Request.close looks at
                try:
                    await request.close()
                except BaseException as error:
                    errors.append(error)
        try:
            await app.do_teardown_appcontext(self, exc)
        except BaseException as error:
            errors.append(error)
        _cv_app.reset(self._cv_token)  # type: ignore[arg-type]
        self._cv_token = None
        if appcontext_popped.receivers:
            try:
                await appcontext_popped.send_async(app, _async_wrapper=app.ensure_async)
            except BaseException as error:
                errors.append(error)
        if errors:
            raise BaseExceptionGroup("Errors during context teardown", errors)


class LeanQuart(LeanBase):
    """The overrides."""

    def app_context(self) -> AppContext:
        """As Quart.app_context."""
        return LeanContext(self)

    def request_context(self, request: Request) -> AppContext:
        """As Quart.request_context."""
        return LeanContext(self, request=request)

    async def handle_request(self, request: Request) -> Any:
        """As Quart.handle_request."""
        ctx = self.request_context(request)
        if type(ctx) is not LeanContext:
            return await self._handle_in(ctx, request)
        await ctx.push()
        try:
            try:
                result = await self.full_dispatch_request(ctx)
            except asyncio.CancelledError:
                raise
            except SystemExit as error:
                result = await self.handle_exception(ctx, exited(error))
            except Exception as error:
                result = await self.handle_exception(ctx, error)
            finally:
                if request.scope.get("_quart._preserve_context", False):
                    self._preserved_context = ctx.copy()
        except BaseException as error:
            await ctx.pop(error)
            raise
        await ctx.pop(None)
        return result

    async def _handle_in(self, context: AppContext, request: Request) -> Any:
        async with context as ctx:
            try:
                return await self.full_dispatch_request(ctx)
            except asyncio.CancelledError:
                raise
            except SystemExit as error:
                return await self.handle_exception(ctx, exited(error))
            except Exception as error:
                return await self.handle_exception(ctx, error)
            finally:
                if request.scope.get("_quart._preserve_context", False):
                    self._preserved_context = ctx.copy()

    async def full_dispatch_request(self, ctx: AppContext) -> Any:
        """As Quart.full_dispatch_request."""
        try:
            if request_started.receivers:
                await request_started.send_async(self, _sync_wrapper=self.ensure_async)  # type: ignore[arg-type]
            result = await self.preprocess_request(ctx)
            if result is None:
                result = await self.dispatch_request(ctx)
        except Exception as error:
            result = await self.handle_user_exception(ctx, error)
        return await self.finalize_request(ctx, result)

    async def preprocess_request(self, ctx: AppContext) -> Any:
        """As Quart.preprocess_request."""
        if not self.before_request_funcs and not self.url_value_preprocessors:
            return None
        return await super().preprocess_request(ctx)

    async def dispatch_request(self, ctx: AppContext) -> Any:
        """As Quart.dispatch_request."""
        request = ctx.request
        if request.routing_exception is not None:
            self.raise_routing_exception(request)
        rule = request.url_rule
        if request.method == "OPTIONS" and rule.provide_automatic_options:  # type: ignore[union-attr]
            return await self.make_default_options_response(ctx)
        handler = self.view_functions[rule.endpoint]  # type: ignore[union-attr]
        return await self.ensure_async(handler)(**request.view_args)  # type: ignore[arg-type]

    async def finalize_request(self, ctx: AppContext, result: Any, from_error_handler: bool = False) -> Any:
        """As Quart.finalize_request."""
        response = await self.make_response(result)
        try:
            response = await self.process_response(ctx, response)
            if request_finished.receivers:
                await request_finished.send_async(
                    self,
                    _sync_wrapper=self.ensure_async,  # type: ignore[arg-type]
                    response=response,
                )
        except Exception:
            if not from_error_handler:
                raise
            self.logger.exception("Request finalizing errored")
        return response

    async def process_response(self, ctx: AppContext, response: Any) -> Any:
        """As Quart.process_response."""
        if ctx._after_request_functions or self.after_request_funcs:
            return await super().process_response(ctx, response)
        session = ctx.session
        if not self.session_interface.is_null_session(session):
            await self.ensure_async(self.session_interface.save_session)(self, session, response)
        return response

    async def do_teardown_request(self, ctx: AppContext, exc: BaseException | None = None) -> None:
        """As Quart.do_teardown_request."""
        if self.teardown_request_funcs or request_tearing_down.receivers:
            await super().do_teardown_request(ctx, exc)

    async def do_teardown_appcontext(self, ctx: AppContext, exc: BaseException | None = None) -> None:
        """As Quart.do_teardown_appcontext."""
        if self.teardown_appcontext_funcs or appcontext_tearing_down.receivers:
            await super().do_teardown_appcontext(ctx, exc)
