"""`aeros run` forks first and imports after: loads that are served, that fail, and that are ended."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.apps import HANGING, replace
from tests.conftest import Serve
from tests.helpers import log, proc
from tests.helpers.conditions import eventually
from tests.helpers.everybody import interpreter
from tests.helpers.serverproc import ServerProcess

RUN = [sys.executable, "-m", "aeros", "run"]
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

#: Put together at run time, so that no file and no command line holds it.
MARK = "-".join(["never", "seen", "by", "its", "supervisor"])
APP = """
import os, threading, time
from aeros import WebServer

VERSION = "v1"
MARK = "-".join(["never", "seen", "by", "its", "supervisor"])
app = WebServer(__name__, port=0, workers=2)
threading.Thread(target=time.sleep, args=(600,), name="ticker", daemon=True).start()

@app.get("/")
async def home():
    return {"version": VERSION, "mark": MARK, "pid": os.getpid()}
"""
FAMILIAR = """
from aeros import WebServer
app = WebServer(__name__)
"""


def run(serve: Serve, folder: Path, text: str, *args: str, bind: str | None = "127.0.0.1:0") -> ServerProcess:
    """`aeros run shop:app` of a module with this text."""
    (folder / "shop.py").write_text(text)
    return serve(argv=[*RUN, "shop:app", *(["-b", bind] if bind else []), *args])


def holds(pid: int, text: str) -> bool:
    """Whether the text stands anywhere in the memory of a process that it could write to."""
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in maps:
            where, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            begin, end = (int(part, 16) for part in where.split("-"))
            try:
                memory.seek(begin)
                if text.encode() in memory.read(end - begin):
                    return True
            except (OSError, ValueError):
                continue  # vvar and its like cannot be read
    return False


def is_clean(server: ServerProcess) -> bool:
    assert holds(next(iter(server.ready_pids())), MARK), "else the search does not find it where it is"
    return os.listdir(f"/proc/{server.pid}/task") == [str(server.pid)] and not holds(server.pid, MARK)


@pytest.mark.limit_s(180)
def test_the_supervisor_never_sees_the_app(serve: Serve, tmp_path: Path) -> None:
    server = run(serve, tmp_path, APP, bind=None).ready(2)  # the constructor says how many, and where
    server.expect(
        "live thread", "SIGKILL", "refused", "SyntaxError", "ZeroDivisionError", "Traceback", "shop.py", "1 / 0", "~"
    )
    assert "until the next reload ends it" in server.wait_log("live thread.*")[0]
    assert server.get().json()["version"] == "v1"
    assert is_clean(server)
    first = next(pid for pid in proc.children(server.pid) if len(os.listdir(f"/proc/{pid}/task")) > 1)

    replace(tmp_path / "shop.py", "def broken(:\n")
    assert server.command("reload", str(server.pid)).returncode == 1
    assert server.get().json()["version"] == "v1"

    replace(tmp_path / "shop.py", APP.replace('"v1"', '"v2"'))
    assert server.command("reload", str(server.pid)).returncode == 0
    assert server.get().json()["version"] == "v2"
    assert is_clean(server)
    eventually(lambda: not proc.alive(first), 10, "the first program, its memory and its thread are gone")

    victim = next(iter(server.ready_pids()))
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: victim not in server.ready_pids() and len(server.ready_pids()) == 2, 10)

    replace(tmp_path / "shop.py", "1 / 0\n")
    refused = server.command("upgrade", str(server.pid))
    assert refused.returncode == 1
    assert "shop cannot be imported: ZeroDivisionError" in refused.stderr
    assert server.get().json()["version"] == "v2"

    replace(tmp_path / "shop.py", APP.replace('"v1"', '"v3"'))
    assert server.command("upgrade", str(server.pid)).returncode == 0
    server.wait_gone()
    server.succeeded_by(int(server.wait_log(r"supervisor pid (\d+)", count=2)[1]))
    server.ready(2)
    assert server.get().json()["version"] == "v3"
    assert is_clean(server)
    os.kill(server.pid, signal.SIGKILL)
    server.family_gone(10)


FAILING = {
    "no module": ("", "shp:app", 3, "there is no module 'shp' here.*shop", 0),
    "syntax": ("def broken(:\n", "shop:app", 3, "SyntaxError", 0),
    "raises": ("1 / 0\n", "shop:app", 3, "ZeroDivisionError", 1),
    "an import in it": ("import no_such_module\n", "shop:app", 3, "No module named 'no_such_module'", 1),
    "sys.exit": ("import sys\nsys.exit('enough')\n", "shop:app", 3, "SystemExit: enough", 1),
    "no app": ("app = 42\n", "shop:app", 3, "not an ASGI app", 0),
    "a constructor's mistake": (FAMILIAR.replace("__name__", "__name__, prot=1"), "shop:app", 3, "prot", 1),
    "os._exit": ("import os\nos._exit(7)\n", "shop:app", 3, "shop:app ended with exit code 7 before it could be", 0),
    "killed": ("import os\nos.kill(os.getpid(), 11)\n", "shop:app", 3, "shop:app ended with SIGSEGV", 0),
    "closes its line": ("import os\nos.closerange(3, 64)\n" + FAMILIAR, "shop:app", 3, "must not close descriptors", 0),
}


@pytest.mark.parametrize("case", FAILING)
def test_a_load_that_fails_says_so_once(serve: Serve, tmp_path: Path, case: str) -> None:
    text, name, code, pattern, tracebacks = FAILING[case]
    (tmp_path / "shop.py").write_text(text)
    server = serve(argv=[*RUN, name, "-b", "127.0.0.1:0"])
    server.expect("")
    assert server.wait_exit(30) == code, server.log
    server.family_gone()
    server.wait_log(f"^aeros: .*{pattern}" if not tracebacks else pattern, 1)
    assert log.tracebacks(server.log) == tracebacks


def test_a_mistake_in_the_options_needs_no_app(serve: Serve, tmp_path: Path) -> None:
    server = run(serve, tmp_path, HANGING, "--workers", "some")
    server.expect("")
    assert server.wait_exit(30) == 2
    assert not (tmp_path / "loading").exists()


def test_what_only_the_app_can_complete_is_no_mistake(serve: Serve, tmp_path: Path) -> None:
    text = FAMILIAR.replace("__name__", "__name__, max_requests=1000")
    server = run(serve, tmp_path, text, "--max-requests-jitter", "10").ready(1)
    assert server.stop() == 0


@pytest.mark.parametrize("what", ["port", "certificate"])
def test_what_the_supervisor_cannot_have_ends_the_program(serve: Serve, tmp_path: Path, what: str) -> None:
    ends = f"import atexit, pathlib\natexit.register(pathlib.Path({str(tmp_path / 'ended')!r}).touch)\n{FAMILIAR}"
    with socket.create_server(("127.0.0.1", 0)) as holder:
        bind = f"127.0.0.1:{holder.getsockname()[1]}" if what == "port" else "127.0.0.1:0"
        tls = () if what == "port" else ("--certfile", "none.pem", "--keyfile", "none.pem")
        server = run(serve, tmp_path, ends, *tls, bind=bind)
        server.expect("")
        assert server.wait_exit(30) == 4, server.log
    server.family_gone()
    assert len(server.log.strip().splitlines()) == 1, server.log
    assert (tmp_path / "ended").exists(), "its exit handlers have run"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_ends_the_load(serve: Serve, tmp_path: Path, number: int) -> None:
    server = run(serve, tmp_path, HANGING)
    eventually((tmp_path / "loading").exists, 30)
    assert server.stop(number, 5) == 0
    server.family_gone()
    assert server.log == ""


def test_ctrl_c_ends_the_load_without_a_traceback(serve: Serve, tmp_path: Path) -> None:
    server = run(serve, tmp_path, HANGING)
    eventually((tmp_path / "loading").exists, 30)
    os.killpg(server.pid, signal.SIGINT)
    assert server.wait_exit(5) == 0
    assert server.log == ""


def test_a_second_stop_kills_what_ignores_the_first(serve: Serve, tmp_path: Path) -> None:
    deaf = (
        f"import signal, subprocess\nsignal.signal(15, signal.SIG_IGN)\nsubprocess.Popen(['sleep', '600'])\n{HANGING}"
    )
    server = run(serve, tmp_path, deaf)
    eventually((tmp_path / "loading").exists, 30)
    server.send_signal(signal.SIGTERM)
    with pytest.raises(AssertionError, match="still there"):
        server.wait_exit(0.5)
    assert server.stop(signal.SIGTERM, 5) == 0
    server.family_gone()


def test_nothing_outlives_a_supervisor_killed_during_the_load(serve: Serve, tmp_path: Path) -> None:
    server = run(serve, tmp_path, HANGING)
    eventually((tmp_path / "loading").exists, 30)
    os.kill(server.pid, signal.SIGKILL)
    server.family_gone()


def test_other_signals_wait_until_there_is_a_server(serve: Serve, tmp_path: Path) -> None:
    waits = "import pathlib, time\npathlib.Path('loading').touch()\n"
    waits += "while not pathlib.Path('go').exists():\n    time.sleep(0.01)\n"
    server = run(serve, tmp_path, waits + FAMILIAR, "-w", "1", "--boot-timeout", "300ms")
    server.expect("still being loaded")
    eventually((tmp_path / "loading").exists, 30)
    server.send_signal(signal.SIGTTIN)
    server.wait_log("shop:app is still being loaded after 300 ms")
    (tmp_path / "go").touch()
    server.ready(2)
    assert server.stop() == 0


def test_a_module_that_starts_itself_is_the_first_program(serve: Serve, tmp_path: Path) -> None:
    text = FAMILIAR + "print('starts')\napp.start('-w 2 -b 127.0.0.1:0')\nraise SystemExit('start() has returned')\n"
    server = run(serve, tmp_path, text, bind=None).ready(2)
    assert server.stdout.split() == ["starts"]
    assert server.stop() == 0


def test_paths_mean_what_they_mean_on_the_command_line(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    text = f"import os\nos.chdir('elsewhere')\n{FAMILIAR}\n@app.get('/')\nasync def home(): return 'here'\n"
    args = ("--access-logfile", "access.log", "--pid-file", "pid", "--error-logfile", "aeros.log")
    server = run(serve, tmp_path, text, *args, bind="unix:app.sock")
    eventually(lambda: "supervisor pid" in (tmp_path / "aeros.log").read_text(), 30)
    for generation in (1, 2):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(tmp_path / "app.sock"))
            line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert line.recv(100).startswith(b"HTTP/1.1 200")
        eventually(lambda n=generation: (tmp_path / "access.log").read_text().count("GET / ") == n, 5)  # type: ignore[misc]
        assert (tmp_path / "pid").read_text().strip() == str(server.pid)
        if generation == 1:
            done = server.command("reload", str(server.pid))
            assert done.returncode == 0, done.stderr
    assert "a reload keeps" not in (tmp_path / "aeros.log").read_text()
    assert server.stop() == 0
    assert os.listdir(tmp_path / "elsewhere") == []


# --- as another user ------------------------------------------------------------------------------------------------

AS_USER = """
import os
from aeros import WebServer
loaded_as = os.getresuid()
BEFORE
app = WebServer(__name__OPTIONS)

@app.get("/")
async def home():
    return {"loaded_as": loaded_as}
"""


def as_nobody(serve: Serve, folder: Path, *args: str, before: str = "", options: str = "") -> ServerProcess:
    (folder / "shop.py").write_text(AS_USER.replace("BEFORE", before).replace("OPTIONS", options))
    (folder / "shop.py").chmod(0o644)
    python, environment = interpreter()
    argv = [python, "-m", "aeros", "run", "shop:app", "--run-as", "nobody", *args]
    return serve(argv=["sh", "-c", 'cd "$0" && exec "$@"', str(folder), *argv], env=environment)


@ROOT_ONLY
def test_the_app_is_loaded_as_the_user_and_root_opens_what_root_was_told(serve: Serve, open_folder: Path) -> None:
    private = open_folder / "root"
    private.mkdir(mode=0o700)
    (open_folder / "logs").mkdir(mode=0o755)
    (private / "aeros.toml").write_text('pid_file = "root/pid"\nerrorlog = "logs/aeros.log"\nworkers = 1\n')
    bind = f"unix:{private}/app.sock"
    server = as_nobody(serve, open_folder, "--config", "root/aeros.toml", "-b", bind, options=", workers=2, port=80")
    eventually(lambda: "supervisor pid" in (open_folder / "logs" / "aeros.log").read_text(), 30)
    server.complete(1)  # the file outranks the constructor
    for _ in range(2):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(private / "app.sock"))
            line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b'"loaded_as":[65534,65534,65534]' in line.recv(2000).replace(b" ", b"")
        assert (private / "pid").read_text().strip() == str(server.pid)
        done = server.command("reload", str(server.pid))
    assert "aeros.toml" in done.stderr, "which the user may not read"
    assert server.stop() == 0


FORGED = """
from aeros.core.ipc.messages import Founding
from aeros.start.first_program import being_loaded
from aeros.supervisor.model.plan import Plan
from aeros.supervisor.model.policy import Policy
from aeros.options import resolve
options = resolve("-b 127.0.0.1:0 --run-as nobody WANTED")
plan, policy = Plan.of(options, "forged").to_message(), Policy.of(options).to_message()
plan["run_as"] = RUN_AS
being_loaded()._line.send(Founding(os.getpid(), plan, policy))
import time
time.sleep(600)
"""
BEYOND = {
    "pid file": ("", ", pid_file=PATH", "--pid-file"),
    "log": ("", ", access_log=PATH", "--access-logfile, log files"),
    "bind": ("", ", bind='unix:' + PATH", "--bind"),
    "variable": ("os.environ['AEROS_CONTROL'] = PATH", "", "--control"),
    "account": ("os.environ['AEROS_RUN_AS'] = 'root'", ", run_as='root'", ""),
    "forged pid file": (FORGED.replace("WANTED", "--pid-file PATH").replace("RUN_AS", "'nobody'"), "", "--pid-file"),
    "forged account": (FORGED.replace("WANTED", "").replace("RUN_AS", "None"), "", "--run-as"),
}


@ROOT_ONLY
@pytest.mark.parametrize("case", BEYOND)
def test_the_apps_word_opens_nothing_as_root(serve: Serve, open_folder: Path, case: str) -> None:
    before, options, refused = BEYOND[case]
    path = str(open_folder / "made-by-root")
    before = f"PATH = {path!r}\n" + before.replace("--pid-file PATH", f"--pid-file {path}")
    bound = () if refused == "--bind" else ("-b", "127.0.0.1:0")
    server = as_nobody(serve, open_folder, *bound, before=before, options=options)
    if not refused:  # what was given on the command line outranks it
        server.ready(1)
        assert server.get().json()["loaded_as"] == [65534] * 3
        assert server.stop() == 0
        return
    server.expect("")
    assert server.wait_exit(30) == 2, server.log
    server.family_gone()
    assert f"ask for other {refused}" in server.log
    assert "with --run-as root decides" in server.log
    assert not Path(path).exists()
