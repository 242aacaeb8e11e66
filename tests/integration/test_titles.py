"""What ps shows: role, slot, generation, state and requests in flight of each process, and no argument."""

from __future__ import annotations

import re
import signal
import threading

from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually
from tests.helpers.http import get

APP = """
import asyncio
from pathlib import Path
from aeros import WebServer
app = WebServer(__name__)

@app.get("/held")
async def held():
    while not Path("release").exists():
        await asyncio.sleep(0.05)
    return "held"

@app.get("/")
async def home():
    return "home"

if __name__ == "__main__":
    import sys
    code = app.start(sys.argv[1:])
    print(Path("/proc/self/cmdline").read_bytes().rstrip(b"\\0").replace(b"\\0", b" ").decode())
"""


def titles(pids: set[int]) -> list[str]:
    return sorted(proc.command(pid) for pid in pids)


def test_each_process_says_what_it_is_and_does(serve: Serve) -> None:
    arguments = ("-w", "2", "--admin", "127.0.0.1:0", "--admin-token", "hush-hush", "--drain-timeout", "10")
    server = serve(APP, *arguments).ready()
    eventually(
        lambda: (
            titles(server.family)
            == [
                "aeros: dashboard [app.py]",
                "aeros: supervisor gen=1 ready workers=2/2 [app.py]",
                "aeros: worker slot=0 gen=1 ready in-flight=0 [app.py]",
                "aeros: worker slot=1 gen=1 ready in-flight=0 [app.py]",
                "aeros: zygote gen=1 [app.py]",
                "aeros: zygote gen=1 [app.py]",
            ]
        ),
        what="the titles",
    )
    address = server.address
    clients = [threading.Thread(target=get, args=(address, "/held", 30)) for _ in range(5)]
    for client in clients:
        client.start()

    def in_flight() -> int:
        found = re.findall(r"ready in-flight=(\d+)", "\n".join(titles(server.family)))
        return sum(map(int, found))

    eventually(lambda: in_flight() == 5, what="five requests in the titles")
    # The program is found again, though ps does not show its command line any more.
    server.send_signal(signal.SIGHUP)
    eventually(
        lambda: any(re.search(r"gen=1 draining in-flight=[1-5] \[app.py\]", title) for title in titles(server.family)),
        what="an old worker that drains",
    )
    (server.cwd / "release").touch()
    for client in clients:
        client.join()
    assert server.settled(generation=2).generation == 2
    eventually(lambda: "aeros: worker slot=1 gen=2 ready in-flight=0 [app.py]" in titles(server.family))
    assert "hush-hush" not in "".join(titles(server.family))
    assert server.stop() == 0
    # What comes after the server is the program's own again.
    # (Its last letter has no room where the environment is not written over, see SPT_NOENV in serverproc.)
    assert server.stdout.strip() in (" ".join(server.argv), " ".join(server.argv)[:-1])


def test_they_can_have_another_name_or_none(serve: Serve) -> None:
    server = serve(APP, "-w", "1", "--proctitle", "shop").ready()
    eventually(lambda: "aeros: supervisor gen=1 ready workers=1/1 [shop]" in titles(server.family))
    assert server.stop() == 0
    server = serve(APP, "-w", "1", "--proctitle", "off").ready()
    assert set(titles(server.family)) == {" ".join(server.argv)}
    assert server.stop() == 0


def test_an_app_by_its_name(serve: Serve) -> None:
    server = serve(APP)
    server.ready().stop()
    argv = [server.argv[0], "-m", "aeros", "run", "app:app", "-b", "127.0.0.1:0"]
    server = serve(argv=argv).ready()
    eventually(lambda: "aeros: supervisor gen=1 ready workers=1/1 [app:app]" in titles(server.family))
    assert server.stop() == 0
