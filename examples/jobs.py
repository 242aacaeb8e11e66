"""Work that goes on after the answer. A reload and a stop wait for it, up to --shutdown-timeout.

$ python examples/jobs.py
$ curl -X POST http://127.0.0.1:8000/letters/ann
"""

import asyncio

from aeros import WebServer

app = WebServer(__name__, workers=2, shutdown_timeout="20s")


async def send_letter(to: str) -> None:
    await asyncio.sleep(0.5)  # the slow part
    print(f"letter to {to} sent by slot {app.worker.slot}", flush=True)


@app.post("/letters/<to>")
async def letter(to: str) -> tuple[dict[str, str], int]:
    app.add_background_task(send_letter, to)
    return {"accepted": to}, 202


if __name__ == "__main__":
    app.start()
