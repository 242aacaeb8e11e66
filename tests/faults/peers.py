"""The same faults for other servers: `python -m tests.faults.peers FILE`, run by scripts/faults.

Each injection is done to a fresh server with two workers while a client asks on new connections; FILE gets what became
of it as JSON: {"versions": …, "results": {injection: {server: text}}}. Servers are the newest releases, as
`scripts/bench` installs them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

APP = """
import asyncio, os, pathlib, time

if pathlib.Path("broken").exists():
    raise RuntimeError("broken on purpose")


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"].endswith("startup") and pathlib.Path("sick").exists():
                asyncio.get_running_loop().call_later(1.5, os._exit, 23)
            await send({"type": message["type"] + ".complete"})
            if message["type"].endswith("shutdown"):
                return
    if scope["path"] == "/block":
        time.sleep(600)
    if scope["path"] == "/endless":
        await asyncio.sleep(600)
    with open("pids", "a") as file:
        file.write(f"{os.getpid()}\\n")
    body = str(os.getpid()).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    import sys
    from aeros.start import start
    start(app, sys.argv[1:], {})
"""
PATIENCE_S = 45.0


def commands(port: int) -> dict[str, list[str]]:
    """How each server is started: two workers, its other settings as they come."""
    tool = Path(sys.executable).parent
    return {
        "aeros": [sys.executable, "peerapp.py", "-w", "2", "-b", f"127.0.0.1:{port}"],
        "gunicorn": [str(tool / "gunicorn"), "-k", "asgi", "-w", "2", "-b", f"127.0.0.1:{port}", "peerapp:app"],
        "uvicorn": [str(tool / "uvicorn"), "--workers", "2", "--port", str(port), "peerapp:app"],
        "hypercorn": [str(tool / "hypercorn"), "-w", "2", "-b", f"127.0.0.1:{port}", "peerapp:app"],
        "granian": [str(tool / "granian"), "--interface", "asgi", "--workers", "2", "--port", str(port), "peerapp:app"],
    }


@dataclass
class Peer:
    """A running server."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]
    failed: int = 0
    asked: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def get(self, path: str = "/", timeout_s: float = 2.0) -> int | None:
        """The pid that answered, None if nobody did."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout_s) as line:
                line.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                answer = b""
                while part := line.recv(4096):
                    answer += part
        except OSError:
            return None
        body = answer.rpartition(b"\r\n")[2]
        return int(body) if body.isdigit() else None

    def load(self) -> None:
        while not self.over.wait(0.01):
            self.asked += 1
            self.failed += self.get() is None

    def pids(self, wanted: int = 2, within_s: float = 20.0) -> set[int]:
        """Who answers now: two of them, unless it takes too long."""
        found: set[int] = set()
        until = time.monotonic() + within_s
        while len(found) < wanted and time.monotonic() < until:
            pid = self.get()
            if pid:
                found.add(pid)
        return found

    def family(self) -> list[int]:
        return [pid for pid in session_members(self.process.pid) if state(pid) != "Z"]

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "Z"


def session_members(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                    found.append(int(entry.name))
    return found


@contextlib.contextmanager
def running(name: str) -> Iterator[Peer]:
    with tempfile.TemporaryDirectory(prefix="peer-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        Path(folder, "peerapp.py").write_text(APP)
        Path(folder, "run").mkdir()
        environment = {**os.environ, "PYTHONPATH": f"{folder}:{Path.cwd()}", "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            commands(port)[name],
            cwd=folder,
            env=environment | {"XDG_RUNTIME_DIR": f"{folder}/run"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        peer = Peer(port, Path(folder), process)
        try:
            if len(peer.pids()) < 2:
                raise RuntimeError(f"{name} did not start")
            yield peer
        finally:
            peer.over.set()
            for pid in session_members(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


def until(check: Callable[[], bool], seconds: float = PATIENCE_S) -> float | None:
    """Seconds until check() held, None if it never did."""
    begun = time.monotonic()
    while time.monotonic() < begun + seconds:
        if check():
            return time.monotonic() - begun
        time.sleep(0.02)
    return None


def lost(peer: Peer) -> str:
    return f"{peer.failed} of {peer.asked} failed"


def kill_a_worker(peer: Peer) -> str:
    victim = min(peer.pids())
    os.kill(victim, signal.SIGKILL)
    took = until(lambda: peer.ended or len(peer.pids(2, 0.2) - {victim}) == 2, 20)
    return f"**server ends**, {lost(peer)}" if peer.ended else _replaced(took, peer)


def _replaced(took: float | None, peer: Peer) -> str:
    return f"replaced, {lost(peer)}" if took is not None else f"**not replaced**, {lost(peer)}"


def stop_a_worker(peer: Peer) -> str:
    victim = min(peer.pids())
    os.kill(victim, signal.SIGSTOP)
    return _noticed(peer, victim)


def block_the_loop(peer: Peer) -> str:
    before = peer.pids()
    threading.Thread(target=peer.get, args=("/block", PATIENCE_S + 5), daemon=True).start()
    time.sleep(0.3)
    begun = time.monotonic()
    took = until(lambda: peer.ended or any(state(pid) == "Z" for pid in before))
    return "**never noticed** (45 s)" if took is None else f"replaced after {time.monotonic() - begun:.0f} s"


def _noticed(peer: Peer, victim: int) -> str:
    took = until(lambda: peer.ended or state(victim) == "Z")
    return "**never noticed** (45 s)" if took is None else f"replaced after {took:.0f} s"


def reload_broken_code(peer: Peer) -> str:
    (peer.folder / "broken").touch()
    peer.process.send_signal(signal.SIGHUP)
    until(lambda: peer.ended, 5)
    return f"**server ends**, {lost(peer)}" if peer.ended else f"serves on, {lost(peer)}"


def kill_the_supervisor(peer: Peer) -> str:
    peer.pids()
    peer.over.set()
    peer.process.kill()
    took = until(lambda: not [pid for pid in peer.family() if pid != peer.process.pid], 10)
    if took is not None:
        return f"all gone after {took:.1f} s"
    return "**orphans go on serving**" if peer.get() else "**orphans stay**"


def crash_loop(peer: Peer) -> str:
    (peer.folder / "sick").touch()
    seen: set[int] = set()
    before = set(peer.family())
    for pid in peer.pids():
        os.kill(pid, signal.SIGKILL)
    begun = time.monotonic()
    while time.monotonic() < begun + 30 and not peer.ended:
        seen |= set(peer.family())
        time.sleep(0.05)
    if peer.ended:
        return f"**server ends** after {time.monotonic() - begun:.0f} s"
    return f"{len(seen - before)} starts in 30 s"


def stop_under_load(peer: Peer) -> str:
    threading.Thread(target=peer.get, args=("/endless", PATIENCE_S + 5), daemon=True).start()
    time.sleep(0.3)
    peer.over.set()
    peer.process.terminate()
    took = until(lambda: peer.ended)
    return "**does not end** (45 s)" if took is None else f"ended after {took:.0f} s"


INJECTIONS: dict[str, Callable[[Peer], str]] = {
    "kill a worker": kill_a_worker,
    "stop a worker": stop_a_worker,
    "block the loop": block_the_loop,
    "reload broken code": reload_broken_code,
    "kill the supervisor": kill_the_supervisor,
    "crash loop": crash_loop,
    "stop under load": stop_under_load,
}


def one(name: str, injection: str) -> str:
    """What becomes of a fresh server of that name."""
    try:
        with running(name) as peer:
            client = threading.Thread(target=peer.load, daemon=True)
            client.start()
            found = INJECTIONS[injection](peer)
            peer.over.set()
            client.join(10)
            return found
    except (RuntimeError, OSError, ValueError) as error:
        return f"could not be run: {error}"


def main() -> None:
    results: dict[str, dict[str, str]] = {}
    names = list(commands(0))
    # All servers at once: most of the time is spent waiting for somebody to notice.
    with ThreadPoolExecutor(len(names)) as pool:
        for injection in INJECTIONS:
            found = dict(zip(names, pool.map(one, names, [injection] * len(names)), strict=True))
            results[injection] = found
            for name, text in found.items():
                print(f"{injection:20} {name:10} {text}", flush=True)
            versions = {name: version(name) for name in names}
            Path(sys.argv[1]).write_text(json.dumps({"versions": versions, "results": results}, indent=1))


if __name__ == "__main__":
    main()
