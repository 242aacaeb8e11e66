"""One app with one tool: two workers, asked, one killed, reloaded, stopped; then the tool's own result is looked at."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.ecosystem.services import SERVICES
from tests.ecosystem.sink import Sink
from tests.helpers.conditions import eventually
from tests.helpers.http import Answer
from tests.helpers.serverproc import ServerProcess

HERE = Path(__file__).parent
#: How an app is served where the case says nothing else; {app} is its name.
RUN = ("-m", "aeros", "run", "{app}:app")
SETTINGS = ("-b", "127.0.0.1:0", "-w", "2")


@dataclass(frozen=True)
class Case:
    """needs: what to do so that it works, "" if nothing. load: what `--load auto` chooses. command, environment: {app},
    {bin}, {folder}, {sink} and {port} are filled in. program: what
    listens at {port} (see services). while_served, afterwards: raise where the tool has not done its part."""

    name: str
    packages: str
    app: str
    needs: str = ""
    note: str = ""
    load: str = "fork"
    command: tuple[str, ...] = RUN
    environment: Mapping[str, str] = field(default_factory=dict)
    program: str = ""
    while_served: Callable[[Trial], None] | None = None
    afterwards: Callable[[Trial], None] | None = None
    #: Instead of all steps, for what is no server.
    alone: Callable[[Trial], None] | None = None


class Trial:
    """A case under way. `folder`: the server's directory; `sink`: what the tool has sent."""

    def __init__(self, case: Case, python: Path) -> None:
        self.case, self.python = case, python
        self.folder = Path(tempfile.mkdtemp(prefix="aeros-ecosystem-"))
        self.sink = Sink()
        self.asked = 0
        #: For what the case needs beside its app: a database, the dashboard.
        self.port = free_port()
        shutil.copy(HERE / f"{case.app}.py", self.folder)
        self._services = ExitStack()
        if case.program:
            self._services.enter_context(SERVICES[case.program](self.port))
        if not case.alone:
            environment = {name: self.filled(value) for name, value in case.environment.items()}
            self.server = ServerProcess(self.argv(), self.folder, env=environment)

    def filled(self, text: str) -> str:
        module = Path(self.case.app).name
        places = {"app": module, "bin": str(self.python.parent), "folder": str(self.folder)}
        places |= {"sink": f"127.0.0.1:{self.sink.port}", "port": str(self.port)}
        for name, value in places.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def argv(self) -> list[str]:
        words = [self.filled(word) for word in (*self.case.command, *SETTINGS)]
        return [str(self.python), *words] if words[0].startswith("-") or words[0].endswith(".py") else words

    def run(self, *words: object, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """A program of the environment's, in the folder."""
        command = [str(self.python.parent / str(words[0])), *map(str, words[1:])]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=timeout_s, check=False)
        assert done.returncode == 0, (command, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done

    def ask(self, path: str = "/") -> Answer:
        self.asked += 1
        return self.server.get(path, timeout_s=30)

    def close(self) -> None:
        if not self.case.alone:
            with contextlib.redirect_stdout(sys.stderr):  # it shows the server's log
                self.server.close()
        self.sink.close()
        self._services.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- the steps ---------------------------------------------------------------------------------------------

    def steps(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """What is done, in this order. Each raises when it does not work."""
        if self.case.alone is not None:
            yield "run", lambda: self.case.alone(self)  # type: ignore[misc]
            return
        yield f"--load auto chose {self.case.load}", self._loaded
        yield "asked", self._asked
        yield "kill -9", self._killed
        yield "reload", self._reloaded
        if self.case.while_served is not None:
            yield "while served", lambda: self.case.while_served(self)  # type: ignore[misc]
        yield "stop", self._stopped
        if self.case.afterwards is not None:
            yield "afterwards", lambda: self.case.afterwards(self)  # type: ignore[misc]

    def _loaded(self) -> None:
        found = self.server.ready(2, 90).status()
        assert found.load == self.case.load, found.describe_load()

    def _asked(self) -> None:
        for _ in range(6):
            answer = self.ask()
            assert answer.status == 200, answer
            assert json.loads(answer.body)["right"] is True, answer

    def _killed(self) -> None:
        victim = min(self.server.ready_pids())
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: len(self.server.ready_pids() - {victim}) == 2, 60)
        self._asked()

    def _reloaded(self) -> None:
        self.server.handle().reload()
        self.server.settled(2, 60)
        self._asked()

    def _stopped(self) -> None:
        assert self.server.stop(deadline_s=60) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
