"""Fixtures: `serve` starts servers and ends them, with every process and log line accounted for."""

from __future__ import annotations

import atexit
import faulthandler
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from .apps import source_of
from .helpers import serverproc
from .helpers.figures import Collection, Report
from .helpers.serverproc import ServerProcess

Serve = Callable[..., ServerProcess]


_figures = Collection(None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-report", metavar="FILE", help="write outcomes and figures of the tests as JSON")
    parser.addoption(
        "--every-server",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="an option for every server the tests start that do not say it themselves, such as http=hypercorn",
    )
    parser.addoption(
        "--dev-mode", action="store_true", help="start every server in Python's development mode, warnings being errors"
    )


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _figures.outcome(report.nodeid, report.outcome, report.duration)


def pytest_sessionfinish() -> None:
    _figures.write()


@pytest.fixture(autouse=True)
def report(request: pytest.FixtureRequest) -> Iterator[Report]:
    """What the test measured, for docs/reliability.md; see tests/helpers/figures.py."""
    found = Report()
    _figures.begin()
    yield found
    _figures.end(request.node.nodeid, found)


# How long an example takes says more of the machine's other work than of the code.
settings.register_profile("aeros", deadline=None)
settings.load_profile("aeros")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Whoever ends the test run with SIGTERM (a CI job's limit) gets the teardown too, and no server is left."""

    def leave(*_: object) -> None:
        pytest.exit("ended by SIGTERM", returncode=143)

    signal.signal(signal.SIGTERM, leave)
    _figures.path = config.getoption("--faults-report")
    for given in config.getoption("--every-server"):
        name, _, value = given.partition("=")
        serverproc.EVERY_SERVER[f"AEROS_{name.upper()}"] = value
    if config.getoption("--dev-mode"):
        serverproc.EVERY_SERVER |= {"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error"}
    # For those started by the tests' own process as well; but for another user its interpreter is out of reach.
    own = {name: value for name, value in serverproc.EVERY_SERVER.items() if name != serverproc.RUN_AS}
    os.environ.update(own)
    if serverproc.RUN_AS in serverproc.EVERY_SERVER and not config.option.basetemp:
        # Another run of pytest would close its usual folder to other users again.
        config.option.basetemp = tempfile.mkdtemp(prefix="aeros-tests-")
        atexit.register(shutil.rmtree, config.option.basetemp, ignore_errors=True)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """serve(app, "-w", "2", …) → a ServerProcess of `python app.py -b 127.0.0.1:0 -w 2 …`.

    app: the name of a file in tests/apps, or a program text. Give `argv=` to start something else altogether.
    """
    servers: list[ServerProcess] = []

    def start(
        app: str = "full",
        *args: str,
        version: str = "v1",
        argv: list[str] | None = None,
        python: str = sys.executable,
        bind: str | None = "127.0.0.1:0",
        cwd: Path = tmp_path,
        **how: object,
    ) -> ServerProcess:
        if argv is None:
            program = tmp_path / "app.py"
            program.write_text(source_of(app, version))
            bound = ["-b", bind] if bind is not None else []
            argv = [python, str(program), *bound, *args]
        server = ServerProcess(argv, cwd, **how)  # type: ignore[arg-type]
        servers.append(server)
        return server

    yield start
    problems = [problem for server in reversed(servers) for problem in server.close()]
    assert not problems, "\n".join(problems)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder everybody may enter; tmp_path is its owner's alone."""
    with tempfile.TemporaryDirectory(prefix="aeros-open-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture
def runtime_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory for servers started inside the test process, in place of the user's own."""

    path = Path(tempfile.mkdtemp(prefix="aeros-test-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(autouse=True)
def _not_for_another_user(request: pytest.FixtureRequest) -> None:
    """Skip what `@pytest.mark.not_run_as(why)` says contradicts --every-server run_as=…"""
    marker = request.node.get_closest_marker("not_run_as")
    if marker is not None and serverproc.RUN_AS in serverproc.EVERY_SERVER:
        pytest.skip(marker.args[0])


@pytest.fixture(autouse=True)
def _hung_test_says_where(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that hangs fails with a stack: after `@pytest.mark.limit_s(n)`, else 90 s.

    Where the exception does not end it (a loop that waits for a task which cannot be cancelled), its process ends 30 s
    later, with a stack too: a thread of C sees to that.
    """
    marker = request.node.get_closest_marker("limit_s")
    limit_s = marker.args[0] if marker else 90

    def too_long(*_: object) -> None:
        raise AssertionError(f"the test took more than {limit_s} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(limit_s)
    faulthandler.dump_traceback_later(limit_s + 30, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
