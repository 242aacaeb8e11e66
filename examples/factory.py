"""An app made by a function, for `aeros run`.

$ cd examples && aeros run "factory:create_app()" -w 2
"""

import os

from aeros import WebServer


def create_app() -> WebServer:
    """Called once per generation, in the zygote: what is built here is shared by its workers."""
    app = WebServer(__name__)
    greeting = os.environ.get("GREETING", "hello")

    @app.route("/")
    async def home() -> dict[str, str]:
        return {"response": greeting}

    return app
