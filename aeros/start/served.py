"""From the app that the user gives to what is called for each request."""

from __future__ import annotations

from typing import Any

from ..options import Options
from .app.check_app import asgi_app


def served_app(app: Any, options: Options) -> Any:
    """Return `app` as an ASGI app, with --dev in its frame for development. Raises AppLoadError."""
    if not options.dev:
        return asgi_app(app)
    from ..dev.app import DevelopedApp

    if not isinstance(app, DevelopedApp):  # one that could not be loaded is in its frame already
        app = DevelopedApp(asgi_app(app))
    app.configure(lines=not options.access_log, refresh=options.refresh)
    return app
