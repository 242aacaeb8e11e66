from Aeros import WebServer
from Aeros.misc import jsonify

app = WebServer(__name__, host="127.0.0.1", port=0)


@app.route("/")
async def home():
    return jsonify({"response": "ok"})


@app.route("/pid")
async def pid():
    import os

    return jsonify({"pid": os.getpid()})


if __name__ == "__main__":
    app.start("-w 2")  # worker threads (for more arguments see hypercorn documentation)
