"""The smallest app: two workers, one route.

$ python examples/hello.py
$ curl http://127.0.0.1:8000/
"""

from quart import Response

from Aeros import WebServer
from Aeros.misc import jsonify

app = WebServer(__name__, host="127.0.0.1", port=8000)


@app.route("/")
async def home() -> Response:
    return jsonify({"response": "ok"})


if __name__ == "__main__":
    app.start("-w 2")  # every argument of Hypercorn's command line works here
