"""An app made by a function, of blueprints, for `aeros run`.

$ cd examples && aeros run "factory:create_app()" -w 2
$ curl http://127.0.0.1:8000/cart/2
"""

import os

from quart import Blueprint, abort, current_app

from aeros import WebServer

PRICES = {1: 450, 2: 1200}

pages = Blueprint("pages", __name__)
cart = Blueprint("cart", __name__, url_prefix="/cart")


@pages.get("/")
async def home() -> dict[str, str]:
    return {"response": current_app.config["GREETING"]}


@cart.get("/<int:article>")
async def price(article: int) -> dict[str, int]:
    if article not in PRICES:
        abort(404)
    return {"article": article, "price": PRICES[article]}


def create_app() -> WebServer:
    """Called once per generation, in the zygote: what is built here is shared by its workers."""
    app = WebServer(__name__)
    app.config["GREETING"] = os.environ.get("GREETING", "hello")
    app.register_blueprint(pages)
    app.register_blueprint(cart)
    return app
