"""One server program under test, as its user would start it, with a family that must not outlive it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import log as logs
from . import proc
from .conditions import eventually
from .everybody import REPOSITORY, reachable
from .http import Address, Answer, ExchangeError, address_of, get
from .terminal import Terminal

if TYPE_CHECKING:
    from aeros.server import Server
    from aeros.status.records import ServerStatus, WorkerStatus

#: From the start of the interpreter to every worker ready, on a loaded machine.
START_S = 30.0
#: From SIGTERM to the end, where the app is not meant to hold the stop up.
STOP_S = 20.0


#: Variables for every server, from `pytest --every-server`.
EVERY_SERVER: dict[str, str] = {}
RUN_AS = "AEROS_RUN_AS"


def environment(runtime_dir: Path, marker: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A clean environment: nothing of the machine's own settings reaches the server under test."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AEROS", "PYTHON", "TESTAPP"))
        and name not in ("WEB_CONCURRENCY", "PORT", "NOTIFY_SOCKET")
    }
    kept |= {
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONDONTWRITEBYTECODE": "1",  # two versions of a module within one second must not share a .pyc
        "PYTHONUNBUFFERED": "1",
        "XDG_RUNTIME_DIR": str(runtime_dir),
        proc.MARKER: marker,
        # Or process titles would overwrite the environment that /proc shows, and the marker in it.
        "SPT_NOENV": "1",
        "NO_COLOR": "1",
    }
    return kept | EVERY_SERVER | dict(extra or {})


class ServerProcess:
    """Starts argv at once. `ready()` waits until it serves; `close()` ends it and says what it left behind.

    The pid is that of the program, which is the supervisor where the program calls a blocking start().
    """

    def __init__(
        self,
        argv: Sequence[str],
        cwd: Path,
        *,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        pass_fds: Sequence[int] = (),
        preexec: Callable[[], object] | None = None,
        runtime_dir: Path | None = None,
    ) -> None:
        self.argv = list(argv)
        if RUN_AS in EVERY_SERVER and os.geteuid() == 0:
            self.argv, everybody = reachable(self.argv, cwd, EVERY_SERVER[RUN_AS])
            env = everybody | dict(env or {})
        self.cwd = cwd
        self.marker = uuid.uuid4().hex
        # Not under tmp_path: the path of a Unix socket may have 107 characters at most.
        self._scratch = Path(tempfile.mkdtemp(prefix="aeros-test-"))
        self.runtime_dir = runtime_dir or self._scratch
        self.stderr_path = self._scratch / "stderr"
        self.stdout_path = self._scratch / "stdout"
        self.expected_log: list[str] = []
        self.expected_leftovers: set[int] = set()
        self.started_at = time.monotonic()
        self.supervisor_pid: int | None = None
        self._address: Address | None = None
        self._terminal: Terminal | None = None
        self._handle: Server | None = None
        self._handle_lock = threading.Lock()
        self._closed = False
        with self.stderr_path.open("wb") as err, self.stdout_path.open("wb") as out:
            self.popen = subprocess.Popen(
                self.argv,
                cwd=cwd,
                env=environment(self.runtime_dir, self.marker, env),
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                pass_fds=tuple(pass_fds),
                preexec_fn=preexec,
                start_new_session=True,
            )
        self.pid = self.popen.pid
        if stdin is not None:
            assert self.popen.stdin is not None
            self.popen.stdin.write(stdin.encode())
            self.popen.stdin.close()

    # --- what it is ----------------------------------------------------------------------------------------

    @property
    def control_path(self) -> Path:
        return self.runtime_dir / "aeros" / f"{self.supervisor_pid or self.pid}.sock"

    @property
    def log(self) -> str:
        """What it wrote to standard error so far, wherever that leads."""
        if self._terminal is not None:
            return re.sub(r"\x1b\[[0-9;]*m", "", self._terminal.shown)
        return self.stderr_path.read_text(errors="replace")

    def shown_in(self, terminal: Terminal) -> None:
        """Say that the program writes to this terminal, which is then its log."""
        self._terminal = terminal

    @property
    def stdout(self) -> str:
        return self.stdout_path.read_text(errors="replace")

    @property
    def family(self) -> set[int]:
        """Every live process of it, the supervisor included."""
        return proc.family(self.marker)

    @property
    def url(self) -> str:
        """As the banner prints it; fails while there is none yet."""
        found = re.search(r"(https?://[^\s,\"]+|unix:/[^\s,\"]+)", self.log)
        if found is None:
            raise LookupError("no URL in the log yet")
        return found[1].rstrip(".")

    @property
    def address(self) -> Address:
        if self._address is None:
            self._address = address_of(self.url)
        return self._address

    def handle(self) -> Server:
        """The control handle of this server, as another process gets it; made once."""
        import aeros

        with self._handle_lock:
            if self._handle is None:
                self._handle = aeros.connect(self.control_path)
            return self._handle

    def status(self) -> ServerStatus:
        return self.handle().status()

    def workers(self, state: str | None = None) -> list[WorkerStatus]:
        workers = self.status().workers
        return [worker for worker in workers if state is None or worker.state == state]

    def ready_pids(self) -> set[int]:
        return {worker.pid for worker in self.workers("ready")}

    def get(self, path: str = "/", timeout_s: float = 10.0) -> Answer:
        return get(self.address, path, timeout_s)

    def succeeded_by(self, pid: int) -> None:
        """Another supervisor is the server after an upgrade: deal with that one from now on. It is not our child."""
        self.pid = self.supervisor_pid = pid
        with self._handle_lock:
            if self._handle is not None:
                self._handle.close()
            self._handle = None

    @property
    def running(self) -> bool:
        """Whether the supervisor is alive, the latest one if there was more than one."""
        return self.popen.poll() is None if self.pid == self.popen.pid else proc.alive(self.pid)

    # --- waiting -------------------------------------------------------------------------------------------

    def ready(self, workers: int | None = None, deadline_s: float = START_S) -> ServerProcess:
        """Wait until the status says that all of the wanted workers are ready."""

        def all_ready() -> bool:
            self._assert_running()
            status = self.status()
            wanted = status.target_workers if workers is None else workers
            return sum(worker.state == "ready" for worker in status.workers) == wanted and bool(self.url)

        self._waiting(all_ready, deadline_s, "all workers ready")
        return self

    def serving(self, deadline_s: float = START_S) -> ServerProcess:
        """Wait until the log shows the URL and something answers there; needs no control socket."""

        def answers() -> bool:
            self._assert_running()
            try:
                return get(self.address).status > 0
            except ExchangeError:
                return False

        self._waiting(answers, deadline_s, "an answer at the URL of the log")
        return self

    def settled(self, generation: int | None = None, deadline_s: float = START_S) -> ServerStatus:
        """Wait until the target's workers exist, all ready and of one generation (that one, if given)."""

        def one_generation() -> ServerStatus | None:
            status = self.status()
            generations = {worker.generation for worker in status.workers}
            states = {worker.state for worker in status.workers}
            whole = len(status.workers) == status.target_workers and states == {"ready"} and len(generations) == 1
            return status if whole and (generation is None or generations == {generation}) else None

        status = self._waiting(one_generation, deadline_s, f"settled on generation {generation or 'any'}")
        assert status is not None
        return status

    def complete(self, workers: int, deadline_s: float = START_S) -> set[int]:
        """Wait until the family is whole and nothing else is there: supervisor, zygote, its spare, the workers."""

        def whole() -> set[int] | None:
            family = self.family
            return family if len(family) == workers + 3 else None

        family: set[int] = self._waiting(whole, deadline_s, f"supervisor, two zygotes and {workers} workers")
        return family

    def wait_log(self, pattern: str, deadline_s: float = START_S, count: int = 1) -> re.Match[str]:
        """Wait until the log matches the pattern (that many times); the last match."""

        def found() -> re.Match[str] | None:
            matches = list(re.finditer(pattern, self.log, re.MULTILINE))
            return matches[-1] if len(matches) >= count else None

        match = self._waiting(found, deadline_s, f"{pattern!r} in the log")
        assert match is not None
        return match

    def _waiting(self, check: Callable[[], Any], deadline_s: float, what: str) -> Any:
        def checked() -> Any:
            try:
                return check()
            except Exception as error:  # aeros.ControlError while there is no socket yet
                if isinstance(error, ProgramEnded) or not _may_come(error):
                    raise
                raise LookupError(repr(error)) from error

        return eventually(checked, deadline_s, f"{what}; log so far:\n{self.log}")

    def _assert_running(self) -> None:
        if not self.running:
            code = self.popen.poll()
            raise ProgramEnded(f"the program ended with {code}; its log:\n{self.log}\nstdout:\n{self.stdout}")

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait_gone(self, deadline_s: float = STOP_S) -> None:
        """Wait until the supervisor has ended: also one whose exit code only its parent can learn."""
        eventually(lambda: not self.running, deadline_s, f"the end of pid {self.pid}; log:\n{self.log}")

    def wait_exit(self, deadline_s: float = STOP_S) -> int:
        """The exit code of the program that was started (negative: the signal), or fail."""
        try:
            return self.popen.wait(deadline_s)
        except subprocess.TimeoutExpired:
            shown = "\n".join(f"  {pid} {proc.state(pid)} {proc.command(pid)}" for pid in sorted(self.family))
            raise AssertionError(f"still there after {deadline_s:g} s:\n{shown}\nlog:\n{self.log}") from None

    def stop(self, number: int = signal.SIGTERM, deadline_s: float = STOP_S) -> int:
        """End the server, wait until it has ended, and return the exit code of the program that was started."""
        self.send_signal(number)
        # After an upgrade that program ended before, and the supervisor of today is not our child.
        self.wait_gone(deadline_s) if self.pid != self.popen.pid else None
        return self.wait_exit(deadline_s)

    def family_gone(self, deadline_s: float = 5.0) -> None:
        def gone() -> bool:
            left = self.family
            assert not left, [f"{pid} {proc.command(pid)}" for pid in left]
            return True

        eventually(gone, deadline_s, "no process of the family left")

    def command(self, *args: str, deadline_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """`python -m aeros ARGS` run beside the server, with the same runtime directory."""
        return run_command([sys.executable, "-m", "aeros", *args], self.runtime_dir, self.cwd, deadline_s)

    # --- what is to be in the log --------------------------------------------------------------------------

    def expect(self, *patterns: str) -> None:
        """Declare lines at warning or above which this test brings about on purpose."""
        self.expected_log += patterns

    # --- the end -------------------------------------------------------------------------------------------

    def close(self) -> list[str]:
        """End the program and its family; the list says what was wrong with how it ended."""
        if self._closed:
            return []
        self._closed = True
        if self._handle is not None:
            self._handle.close()
        problems = []
        try:
            if self.running:
                problems += self._zombies()
                with contextlib.suppress(ProcessLookupError):
                    self.send_signal(signal.SIGTERM)
                try:
                    self.wait_gone()
                    self.popen.wait(STOP_S)
                except (subprocess.TimeoutExpired, AssertionError):
                    problems.append(f"did not stop within {STOP_S:g} s of SIGTERM")
            try:
                eventually(lambda: not (self.family - self.expected_leftovers), 5.0)
            except AssertionError:
                left = self.family - self.expected_leftovers
                problems.append("left running: " + "; ".join(f"{pid} {proc.command(pid)}" for pid in sorted(left)))
        finally:
            proc.kill_all(self.family)
            self.popen.wait(10)
            eventually(lambda: not self.family, 10.0, "killed processes gone")
        loud = logs.unexpected(self.log, self.expected_log)
        if loud:
            problems.append("unexpected in the log:\n    " + "\n    ".join(loud[:20]))
        print(f"--- {' '.join(self.argv)}\n--- exit {self.popen.returncode}, stderr:\n{self.log}")
        if self.stdout:
            print(f"--- stdout:\n{self.stdout}")
        shutil.rmtree(self._scratch, ignore_errors=True)
        return problems

    def _zombies(self) -> list[str]:
        """What has ended and nobody reaped, while the server still ran; a stopped server cannot."""
        try:
            eventually(lambda: proc.state(self.pid) == "T" or not proc.zombies(self.family), 5.0)
        except AssertionError:
            return [f"zombies: {sorted(proc.zombies(self.family))}"]
        return []


class ProgramEnded(Exception):
    """The program under test ended while a test waited for it to serve."""


def _may_come(error: Exception) -> bool:
    import aeros

    return isinstance(error, (OSError, LookupError, AssertionError, aeros.ControlError))


def run_command(
    argv: Sequence[str], runtime_dir: Path, cwd: Path, deadline_s: float = 60.0, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, both streams captured."""
    return subprocess.run(
        list(argv),
        cwd=cwd,
        env=environment(runtime_dir, uuid.uuid4().hex, env),
        capture_output=True,
        text=True,
        timeout=deadline_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )
