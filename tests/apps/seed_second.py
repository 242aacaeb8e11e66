from Aeros import WebServer
from Aeros.misc import jsonify
from Aeros.misc import sync_to_async
import time

app = WebServer(__name__, host="127.0.0.1", port=0)


@sync_to_async
def sync_method():
    time.sleep(2)
    return "ok"


@app.route("/")
async def home():
    status = sync_method()
    return jsonify({"response": status})


@app.route("/awaited")
async def awaited():
    status = await sync_method()
    return jsonify({"response": status})


if __name__ == "__main__":
    app.start("-w 1")
