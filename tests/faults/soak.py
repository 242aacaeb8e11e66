"""scripts/soak: a server under load to which everything happens, at random; its invariants are looked at all along.

    scripts/soak [--minutes 30] [--seed N]

The seed is printed first; the same one brings the same events in the same order. Ends with 1 and the list of events
when an invariant was violated:

- Full strength returns within RECOVERY_S of each event.
- A request fails only if it was in flight while a worker was killed, stopped or crashed.
- The supervisor stays the same process, with one thread, bounded descriptors and bounded memory.
- No zombie stays for more than ZOMBIE_S; the number of processes is bounded.
- The totals of the status never go down, and count what the clients count.
- No line at warning or above that no event explains; the stop at the end is clean.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aeros

from ..apps import deploy, replace, source_of
from ..helpers import log, proc
from ..helpers.load import KeepAliveGet, Load, NewConnectionGet, Record, SlowGet, SlowUpload, Tally
from ..helpers.serverproc import ServerProcess

#: After an event all workers of the target serve again within this.
RECOVERY_S = 25.0
ZOMBIE_S = 5.0
WORKER_TIMEOUT_S = 3.0
DRAIN_S = 5.0
SHUTDOWN_S = 2.0
#: The most a stuck worker may stay: its missing heartbeat is noticed, or, where a reload has told it to end meanwhile,
#: its drain is over; the stacks are asked for, and the machine is busy.
STUCK_S = max(WORKER_TIMEOUT_S, DRAIN_S + SHUTDOWN_S + 1) + 2.0
#: Whole means whole for this long: what has just been done to the server may not have reached it.
STEADY_S = 0.4
MOST_WORKERS = 5
#: Old and new workers of a reload, and those that drain; supervisor, zygotes, a program being loaded.
MOST_PROCESSES = 3 * MOST_WORKERS + 8
#: Beyond what the supervisor had when it was first ready: per worker a channel, stacks and a pidfd, twice in a reload.
MORE_DESCRIPTORS = 3 * 3 * MOST_WORKERS + 20
MORE_RSS_BYTES = 32 << 20
CLIENTS = (KeepAliveGet, KeepAliveGet, NewConnectionGet, SlowGet, SlowUpload)
#: What the events bring about. Whatever else is at warning or above is a violation.
EXPLAINED = (
    r"worker slot=\d+ gen=\d+",
    r"zygote gen=\d+.*died",
    r"no spare zygote",
    r"reload refused",
    r"the new program",
    r"Traceback|Fatal Python error|Current thread|SyntaxError|RuntimeError",
    r"cannot accept connections for the moment",
    r"hypercorn|Exception in lifespan|ERROR in app",
)


class Violation(Exception):
    """An invariant does not hold."""


class Soak:
    """One run. `run` returns the violations."""

    def __init__(self, server: ServerProcess, folder: Path, seed: int, small_disk: Path | None) -> None:
        self.server = server
        self.folder = folder
        self.dice = random.Random(seed)
        self.disk = small_disk
        self.violations: list[str] = []
        self.history: list[str] = []
        #: (from, to) in monotonic seconds: a worker went away, and took with it what it had in hand.
        self.losses: list[tuple[float, float]] = []
        self.extra_requests = 0
        self.workers = 3
        self.version = 1
        self.begun = time.monotonic()
        self.over = threading.Event()
        self.handle = aeros.connect(server.control_path)
        self.base_fds = len(proc.open_fds(server.pid))
        self.base_rss = proc.rss_bytes(server.pid)
        self.most = {"fds": 0, "rss": 0, "processes": 0}
        self.slowest = (0.0, "")
        self.events: list[Callable[[], None]] = [
            *(self.kill_worker, self.kill_worker, self.kill_all_workers, self.kill_zygote, self.kill_all_zygotes),
            *(self.stop_worker, self.block_worker, self.crash_worker, self.stop_supervisor),
            *(self.good_reload, self.good_reload, self.bad_reload, self.reload_that_cannot_start, self.hup_storm),
            *(self.scale, self.scale, self.restart, self.term_to_worker),
            *(self.slow_clients, self.resets, self.worker_without_descriptors, self.supervisor_without_descriptors),
        ]
        if small_disk is not None:
            self.events.append(self.disk_full)

    # --- events ----------------------------------------------------------------------------------------------

    def pids(self) -> list[int]:
        return sorted(worker.pid for worker in self.handle.status().workers if worker.state == "ready")

    def kill_worker(self) -> None:
        pids = self.pids()
        if pids:
            self._kill([self.dice.choice(pids)])

    def kill_all_workers(self) -> None:
        self._kill(self.pids())

    def _kill(self, pids: list[int]) -> None:
        begun = time.monotonic()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.losses.append((begun - 0.05, time.monotonic() + 0.5))

    def zygotes(self) -> list[int]:
        status = self.handle.status()
        known = {self.server.pid, *(worker.pid for worker in status.workers)}
        return sorted(pid for pid in proc.children(self.server.pid) + self._spares() if pid not in known)

    def _spares(self) -> list[int]:
        return [pid for child in proc.children(self.server.pid) for pid in proc.children(child)]

    def kill_zygote(self) -> None:
        zygotes = self.zygotes()
        if zygotes:
            os.kill(self.dice.choice(zygotes), signal.SIGKILL)

    def kill_all_zygotes(self) -> None:
        for pid in self.zygotes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop_worker(self) -> None:
        pid = self.dice.choice(self.pids())
        begun = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        self._await_end(pid, begun)

    def block_worker(self) -> None:
        begun = time.monotonic()
        slot = self.dice.randrange(self.workers)
        pid = next(worker.pid for worker in self.handle.status().workers if worker.slot == slot)
        self.handle.debug(slot, self.dice.choice(["block", "deadlock"]))
        self._await_end(pid, begun)

    def _await_end(self, pid: int, begun: float) -> None:
        while proc.alive(pid):
            if time.monotonic() > begun + STUCK_S:
                raise Violation(f"the stuck worker {pid} was not ended {STUCK_S:g} s later")
            time.sleep(0.02)
        self.losses.append((begun, time.monotonic() + 0.5))

    def crash_worker(self) -> None:
        begun = time.monotonic()
        slot = self.dice.randrange(self.workers)
        self.handle.debug(slot, self.dice.choice(["exit", "segv"]))
        self.losses.append((begun, time.monotonic() + 1.0))

    def stop_supervisor(self) -> None:
        self.server.send_signal(signal.SIGSTOP)
        time.sleep(self.dice.uniform(0.2, WORKER_TIMEOUT_S + 1))
        self.server.send_signal(signal.SIGCONT)

    def good_reload(self) -> None:
        self.version += 1
        deploy(self.folder / "app.py", "full", f"v{self.version}")
        with contextlib.suppress(aeros.ReloadFailed):
            self.handle.reload(timeout=60)
            return
        raise Violation("a good reload was refused: " + self.handle.status().last_reload.reason)

    def bad_reload(self) -> None:
        replace(self.folder / "app.py", "def broken(:\n")
        self._refused()

    def reload_that_cannot_start(self) -> None:
        text = source_of("full").replace('note("before_serving")', 'raise RuntimeError("cannot start, on purpose")')
        replace(self.folder / "app.py", text)
        self._refused()

    def _refused(self) -> None:
        before = self.handle.status().generation
        try:
            self.handle.reload(timeout=60)
        except aeros.ReloadFailed:
            if self.handle.status().generation != before:
                raise Violation("a refused reload changed the generation") from None
        else:
            raise Violation("a broken program was taken")
        finally:
            deploy(self.folder / "app.py", "full", f"v{self.version}")

    def hup_storm(self) -> None:
        for _ in range(self.dice.randrange(5, 30)):
            self.server.send_signal(signal.SIGHUP)
            time.sleep(self.dice.uniform(0, 0.03))

    def scale(self) -> None:
        self.workers = self.dice.randrange(2, MOST_WORKERS + 1)
        self.handle.scale(self.workers)

    def restart(self) -> None:
        self.handle.restart(self.dice.choice([None, self.dice.randrange(self.workers)]))

    def term_to_worker(self) -> None:
        os.kill(self.dice.choice(self.pids()), signal.SIGTERM)

    def slow_clients(self) -> None:
        lines = [self._connect() for _ in range(30)]
        for line in lines:
            line.sendall(b"GET / HTTP/1.1\r\nHost: slow\r\nX-Slow: ")
        for _ in range(10):
            time.sleep(0.2)
            for line in lines:
                with contextlib.suppress(OSError):
                    line.sendall(b"z")
        for line in lines:
            line.close()

    def resets(self) -> None:
        for number in range(60):
            with contextlib.suppress(OSError):
                line = self._connect()
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if number % 2:
                    self.extra_requests += 1
                    line.sendall(b"GET /slow?s=0.1 HTTP/1.1\r\nHost: x\r\n\r\n")
                else:
                    line.sendall(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
                    self.extra_requests += 1
                line.close()

    def _connect(self) -> socket.socket:
        assert not isinstance(self.server.address, str)
        return socket.create_connection(self.server.address, 5)

    def worker_without_descriptors(self) -> None:
        self._without_descriptors(self.dice.choice(self.pids()))

    def supervisor_without_descriptors(self) -> None:
        with self._limited(self.server.pid):
            self.kill_worker()
            time.sleep(2)

    def _without_descriptors(self, pid: int) -> None:
        with self._limited(pid):
            time.sleep(2)

    @contextlib.contextmanager
    def _limited(self, pid: int) -> Iterator[None]:
        try:
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
        except ProcessLookupError:
            yield
            return
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))

    def disk_full(self) -> None:
        assert self.disk is not None
        filler = self.disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        self.kill_worker()
        time.sleep(2)
        filler.unlink()

    # --- invariants ------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Look at what must hold at every moment, until told to end."""
        zombies: dict[int, float] = {}
        requests = 0
        handle = aeros.connect(self.server.control_path)
        while not self.over.wait(0.25):
            now = time.monotonic()
            family = self.server.family
            found = proc.zombies(family)
            zombies = {pid: zombies.get(pid, now) for pid in found}
            for pid, since in zombies.items():
                if now - since > ZOMBIE_S and proc.state(self.server.pid) != "T":
                    self.violate(f"pid {pid} has been a zombie for {now - since:.1f} s")
            status = handle.status()
            if status.totals.requests < requests:
                self.violate(f"the total of requests went from {requests} to {status.totals.requests}")
            requests = status.totals.requests
            if status.pid != self.server.pid or self.server.popen.poll() is not None:
                self.violate("the supervisor has gone")
                break
            figures = {
                "fds": len(proc.open_fds(self.server.pid)) - self.base_fds,
                "rss": proc.rss_bytes(self.server.pid) - self.base_rss,
                "processes": len(family),
            }
            self.most = {name: max(value, figures[name]) for name, value in self.most.items()}
            for name, most in (("fds", MORE_DESCRIPTORS), ("rss", MORE_RSS_BYTES), ("processes", MOST_PROCESSES)):
                if figures[name] > most:
                    self.violate(f"{name}: {figures[name]}, and {most} is the most")
            if proc.thread_count(self.server.pid) != 1:
                self.violate("the supervisor has threads")
        handle.close()

    def violate(self, what: str) -> None:
        line = f"{time.monotonic() - self.begun:7.1f} s  VIOLATION: {what}"
        print(line, flush=True)
        self.history.append(line)
        if len(self.violations) < 50:
            self.violations.append(what)

    def recover(self) -> None:
        """Wait until the fleet is whole again."""
        begun = whole_since = time.monotonic()
        while True:
            status = self.handle.status()
            workers = [worker for worker in status.workers if worker.state == "ready"]
            whole = status.state == "ready" and len(workers) == len(status.workers) == self.workers
            took = time.monotonic() - begun
            if not whole or len({worker.generation for worker in workers}) != 1:
                whole_since = time.monotonic()
            elif time.monotonic() - whole_since >= STEADY_S:
                self.slowest = max(self.slowest, (took, self.history[-1].split()[-1]))
                return
            if took > RECOVERY_S:
                shown = [(worker.slot, worker.pid, worker.generation, worker.state) for worker in status.workers]
                raise Violation(f"not whole {RECOVERY_S:g} s later: {status.state}, {shown}, {status.slots}")
            time.sleep(0.05)

    def excused(self, failure: Record) -> bool:
        return any(failure.begun <= until and failure.ended >= since for since, until in self.losses)

    # --- the run ---------------------------------------------------------------------------------------------

    def run(self, seconds: float) -> list[str]:
        """Soak for that long."""
        watcher = threading.Thread(target=self.watch, daemon=True)
        watcher.start()
        with Load(self.server.address, CLIENTS, pause_s=0.02, timeout_s=30) as tally:
            while time.monotonic() < self.begun + seconds and self.server.popen.poll() is None:
                event = self.dice.choice(self.events)
                self.history.append(f"{time.monotonic() - self.begun:7.1f} s  {event.__name__}")
                try:
                    event()
                    self.recover()
                except Violation as violation:
                    self.violate(f"after {event.__name__}: {violation}")
                except (OSError, aeros.AerosError, LookupError, StopIteration) as error:
                    # The event met a worker that was just going; whether the server is well is asked all the same.
                    self.history.append(f"           {type(error).__name__}: {error}")
                    with contextlib.suppress(Violation, aeros.AerosError):
                        self.recover()
                time.sleep(self.dice.uniform(0, 0.5))
        self.over.set()
        watcher.join(20)
        self.account(tally)
        return self.violations

    def account(self, tally: Tally) -> None:
        """Compare what the clients saw with what the server says, and end it."""
        for failure in tally.failures:
            if not self.excused(failure):
                since = f"from {failure.begun - self.begun:.2f} to {failure.ended - self.begun:.2f} s"
                self.violate(f"failed {since} though no worker was lost meanwhile: {failure}")
        if self.server.popen.poll() is not None:
            self.violate(f"the server ended with {self.server.popen.returncode}")
            return
        time.sleep(0.5)
        counted = self.handle.status().totals.requests
        most = tally.ok + len(tally.failures) + self.extra_requests
        if not tally.ok <= counted <= most:
            self.violate(f"the server counts {counted} requests, the clients {tally.ok} answered and {most} made")
        left = proc.zombies(self.server.family)
        if left:
            self.violate(f"zombies at the end: {left}")
        events = sum("  " in line and "VIOLATION" not in line for line in self.history)
        print(
            f"{events} events, {tally.summary()}; server counts {counted}; at most {self.most}; "
            f"slowest recovery {self.slowest[0]:.1f} s ({self.slowest[1]})"
        )
        code = self.server.stop()
        if code not in (0, 5):
            self.violate(f"the stop ended with {code}")


@contextlib.contextmanager
def small_disk() -> Iterator[Path | None]:
    """A file system of 256 KiB that can be filled, where we may mount one."""
    folder = Path(tempfile.mkdtemp(prefix="aeros-disk-"))
    mounted = (
        os.geteuid() == 0
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
        == 0
    )
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=False)
        folder.rmdir()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description="Random faults under load; see tests/faults/soak.py."
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of what ends the server
    print(f"seed {options.seed}, {options.minutes:g} minutes", flush=True)
    with tempfile.TemporaryDirectory(prefix="aeros-soak-") as name, small_disk() as disk:
        folder = Path(name)
        deploy(folder / "app.py", "full", "v1")
        limits = ["--worker-timeout", str(WORKER_TIMEOUT_S), "--drain-timeout", str(DRAIN_S)]
        limits += ["--shutdown-timeout", str(SHUTDOWN_S)]
        access = ["--access-logfile", str(disk / "access.log")] if disk is not None else []
        server = ServerProcess(
            [sys.executable, "app.py", "-b", "127.0.0.1:0", "-w", "3", "--debug-faults", *limits, *access], folder
        )
        server.expect(*EXPLAINED)
        try:
            server.ready(3)
            soak = Soak(server, folder, options.seed, disk)
            violations = soak.run(options.minutes * 60)
            soak.handle.close()
            loud = log.unexpected(server.log, server.expected_log)
            violations += [f"in the log: {line}" for line in loud]
        finally:
            text = server.log
            with contextlib.redirect_stdout(None):
                problems = server.close()
    violations += [problem for problem in problems if not problem.startswith("unexpected in the log")]
    if violations:
        print(f"\nseed {options.seed}: {len(violations)} violations", *violations, sep="\n  ")
        print("\nevents:", *soak.history, sep="\n")
        print(f"\nlog:\n{text}")
        return 1
    print(f"seed {options.seed}: no violation")
    return 0


if __name__ == "__main__":
    sys.exit(main())
