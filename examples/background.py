"""A server beside a program: block=False gives a handle, and the program goes on.

$ python examples/background.py
"""

import json
import urllib.request

from aeros import WebServer

app = WebServer(__name__)


@app.route("/")
async def home() -> dict[str, int]:
    return {"slot": app.worker.slot}


def ask(url: str) -> dict[str, int]:
    with urllib.request.urlopen(url) as response:
        answer: dict[str, int] = json.load(response)
    return answer


def main() -> None:
    with app.start("-w 2 --port 0", block=False) as server:
        print(f"serving at {server.url}, supervisor pid {server.pid}")
        for _ in range(4):
            print("answer:", ask(server.url))
        server.scale(3)
        status = server.status()
        print(f"{status.ready_workers} workers ready, {status.totals.requests} requests served")
    print(f"after the with block: {server.status().state}")


if __name__ == "__main__":
    main()
