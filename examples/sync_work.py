"""Blocking work in an async handler, and in a plain one.

$ python examples/sync_work.py
$ curl http://127.0.0.1:8000/            # sync_to_async, awaited
$ curl http://127.0.0.1:8000/plain       # a plain def handler
$ curl http://127.0.0.1:8000/forgotten   # 500; the log names the call that was not awaited
"""

import time

from quart import Response

from aeros import WebServer
from aeros.misc import jsonify, sync_to_async

app = WebServer(__name__, threads=4)


@sync_to_async
def sync_method() -> str:
    time.sleep(0.2)  # blocks its thread, not the worker's event loop
    return "ok"


@app.route("/")
async def home() -> Response:
    status = await sync_method()
    return jsonify({"response": status})


@app.route("/plain")
def plain() -> Response:
    time.sleep(0.2)
    return jsonify({"response": "ok"})


@app.route("/forgotten")
async def forgotten() -> Response:
    status = sync_method()  # the mistake: no await
    return jsonify({"response": status})


if __name__ == "__main__":
    app.start()
