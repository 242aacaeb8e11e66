"""An app behind nginx that knows its visitors: their address, and the scheme and host that they typed.

$ python examples/behind_nginx.py
$ nginx -c "$PWD/deploy/nginx/aeros.conf"    # change server_name and the certificates in it first

Without forwarded_allow the visitor would be nginx, and links would begin with http.
"""

from quart import request, url_for

from aeros import WebServer

app = WebServer(__name__, workers=2, bind="127.0.0.1:8000", forwarded_allow="127.0.0.1")


@app.get("/")
async def home() -> dict[str, str | None]:
    return {"visitor": request.remote_addr, "link": url_for("home", _external=True)}


if __name__ == "__main__":
    app.start()
