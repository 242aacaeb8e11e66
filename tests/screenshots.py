"""scripts/screenshots: bring about what an operator meets, photograph the dashboard, compare it with clients' counts.

Load, a reload of an app that starts slowly, a stuck worker, a crash loop. Writes docs/dashboard-*.png and prints what
`aeros top` shows at the same moments.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .helpers.chromium import Page, browser
from .helpers.conditions import eventually
from .helpers.http import get
from .helpers.load import KeepAliveGet, Load, NewConnectionGet, SlowGet, SlowUpload, Tally
from .helpers.programs import program
from .helpers.serverproc import REPOSITORY, ServerProcess

APP = """
import asyncio, hashlib, os, sys, time
from pathlib import Path
from quart import request
from aeros import WebServer

app = WebServer(__name__)

def who():
    return {"pid": os.getpid(), "slot": app.worker.slot, "generation": app.worker.generation, "version": "v1"}

@app.before_serving
async def begin():
    if Path("slow").exists():
        await asyncio.sleep(5)
    if Path("broken").exists():
        raise RuntimeError("the database is gone")

@app.get("/")
async def home():
    return who()

@app.get("/slow")
async def slow():
    await asyncio.sleep(float(request.args.get("s", "1")))
    return who()

@app.post("/upload")
async def upload():
    body = await request.get_data()
    return {**who(), "digest": hashlib.sha256(body).hexdigest(), "length": len(body)}

@app.get("/report")
async def report():
    time.sleep(float(request.args["s"]))
    return who()

app.start(sys.argv[1:])
"""
CLIENTS = (*[KeepAliveGet] * 5, NewConnectionGet, NewConnectionGet, SlowGet, SlowGet, SlowUpload)


class Scene:
    """One server with a dashboard, and the pictures of it."""

    def __init__(self, server: ServerProcess, page: Page) -> None:
        self.server = server
        self.page = page
        eventually(self._dashboard_answers, 20, "the dashboard")
        self.admin: str = server.status().admin

    def _dashboard_answers(self) -> bool:
        with urllib.request.urlopen(self.server.status().admin + "/healthz", timeout=5) as answer:
            return bool(answer.status == 200)

    def watch(self, *, dark: bool = False) -> None:
        self.page.open(self.admin + "/", dark=dark)
        eventually(lambda: self.shown("#fleet .worker h3"), 20, "the fleet on the page")
        self.page.complaints.clear()  # of the page before, whose server has ended

    def shown(self, selector: str) -> str:
        texts = f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText)"
        return str(self.page.value(f"{texts}.join('\\n')"))

    def take(self, name: str) -> None:
        path = REPOSITORY / "docs" / f"dashboard-{name}.png"
        self.page.screenshot(path)
        assert not self.page.complaints, self.page.complaints
        print(f"\n=== {name}: {path.relative_to(REPOSITORY)}, and aeros top at that moment\n")
        print(self.server.command("top", str(self.server.pid), "--once").stdout, flush=True)


@contextmanager
def serving(page: Page, *options: str) -> Iterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="aeros-scene-") as folder:
        Path(folder, "app.py").write_text(APP)
        argv = [sys.executable, "app.py", "-b", "127.0.0.1:0", "--admin", "127.0.0.1:0", *options]
        server = ServerProcess(argv, Path(folder))
        try:
            yield Scene(server.ready(), page)
            code = server.stop()
            assert code == 0, f"exit code {code}"
        finally:
            server.close()


def loaded(scene: Scene, tally: Tally) -> None:
    """Peace, for long enough that the plots have something to show."""
    scene.watch()
    time.sleep(25)
    scene.take("light")
    said = scene.shown("#fleet .worker h3")
    for worker in scene.server.workers("ready"):
        assert str(worker.pid) in said, said
    rate = sum(1 for record in tally.records if record.ended > time.monotonic() - 5) / 5
    print(f"clients: {rate:.0f} answers a second; failures {len(tally.failures)}")


def reloading(scene: Scene) -> None:
    """The new workers take 5 s to start; the old ones serve."""
    slow = scene.server.cwd / "slow"
    slow.touch()
    done = threading.Thread(target=scene.server.handle().reload)
    done.start()
    eventually(lambda: {worker.generation for worker in scene.server.workers()} == {1, 2}, 20, "both generations")
    time.sleep(2.5)
    scene.take("reload")
    done.join(60)
    slow.unlink()
    scene.server.settled(2)


def stuck(scene: Scene) -> None:
    """A handler that blocks its worker's loop."""
    scene.watch(dark=True)
    asked = threading.Thread(target=ask_for_a_report, args=(scene,))
    asked.start()
    time.sleep(6)
    scene.take("dark")
    requests = [one.path for one in scene.server.handle().requests()]
    assert "/report" in requests, requests
    assert "/report" in scene.page.value("document.body.innerText")
    asked.join(60)


def ask_for_a_report(scene: Scene) -> None:
    get(scene.server.address, "/report?s=10", 30)


def looping(scene: Scene) -> None:
    """Workers that can never start."""
    scene.watch()
    (scene.server.cwd / "broken").touch()
    for pid in scene.server.ready_pids():
        os.kill(pid, signal.SIGKILL)
    scene.server.wait_log("given up after repeated failures", 120, count=2)
    time.sleep(2)
    scene.take("crash-loop")


def totals(scene: Scene, tally: Tally) -> None:
    """What was counted on both sides."""
    status: dict[str, Any] = scene.server.status().to_dict()
    counted = status["totals"]["requests"]
    print(f"\nclients: {tally.ok} answers, {len(tally.failures)} failures; server: {counted} requests")


def main() -> int:
    with browser(program("chromium")) as page:
        with serving(page, "-w", "4", "--loop-warn", "1s", "--worker-timeout", "60s") as scene:
            with Load(scene.server.address, CLIENTS) as tally:
                loaded(scene, tally)
                reloading(scene)
                stuck(scene)
            totals(scene, tally)
            assert not tally.failures, tally.failures[:5]
        with serving(page, "-w", "2") as scene:
            looping(scene)
    return 0


if __name__ == "__main__":
    sys.exit(main())
