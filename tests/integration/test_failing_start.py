"""Acceptance 5: a first start that cannot succeed says so once, by its exit code too, and leaves nothing."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest

from tests.apps import source_of
from tests.conftest import Serve
from tests.helpers import log
from tests.helpers.conditions import eventually
from tests.helpers.serverproc import ServerProcess

FULL = source_of("full")
BEFORE_SERVING = 'note("before_serving")'

#: From the failure itself to the end of the last process.
AT_MOST_S = 5.0
#: What the interpreter and the imports may take on a loaded machine before the failure.
IMPORTS_S = 10.0


def failed_start(server: ServerProcess, after_s: float = 0.0) -> int:
    """Wait for the end; afterwards nothing is left, and it came in time."""
    code = server.wait_exit(IMPORTS_S + after_s + AT_MOST_S)
    server.family_gone(1.0)
    server.expect("")
    return code


def test_an_app_that_cannot_be_imported(serve: Serve) -> None:
    server = serve("import no_such_module_anywhere\n" + FULL, "-w", "2")
    assert failed_start(server) != 0
    assert log.tracebacks(server.log) == 1
    assert server.log.count("No module named 'no_such_module_anywhere'") == 1


def test_an_app_that_cannot_be_imported_by_name(serve: Serve, tmp_path: Path) -> None:
    import sys

    (tmp_path / "broken.py").write_text("1 / 0\n")
    server = serve(argv=[sys.executable, "-m", "aeros", "run", "broken:app", "-b", "127.0.0.1:0"])
    assert failed_start(server) == 3
    assert log.tracebacks(server.log) == 1
    assert "ZeroDivisionError" in server.log
    assert "broken.py" in server.log


def test_a_module_that_does_not_exist_names_the_nearest(serve: Serve, tmp_path: Path) -> None:
    import sys

    (tmp_path / "warehouse.py").write_text(FULL)
    server = serve(argv=[sys.executable, "-m", "aeros", "run", "warehous:app"])
    assert failed_start(server) in (2, 3)
    assert "warehouse" in server.log
    assert log.tracebacks(server.log) == 0


def test_an_attribute_that_does_not_exist_names_the_nearest(serve: Serve, tmp_path: Path) -> None:
    import sys

    (tmp_path / "warehouse.py").write_text(FULL.replace("app", "shop"))
    server = serve(argv=[sys.executable, "-m", "aeros", "run", "warehouse:shp"])
    assert failed_start(server) in (2, 3)
    assert "shop" in server.log
    assert log.tracebacks(server.log) == 0


def test_an_object_that_is_no_asgi_app(serve: Serve, tmp_path: Path) -> None:
    import sys

    (tmp_path / "warehouse.py").write_text("app = 42\n")
    server = serve(argv=[sys.executable, "-m", "aeros", "run", "warehouse:app"])
    assert failed_start(server) == 3
    assert "ASGI" in server.log
    assert log.tracebacks(server.log) == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_before_serving_that_raises(serve: Serve, workers: int) -> None:
    text = FULL.replace(BEFORE_SERVING, 'raise LookupError("no database today")')
    server = serve(text, "-w", str(workers))
    assert failed_start(server) == 3
    assert log.tracebacks(server.log) == 1, "one traceback per cause, however many workers met it"
    assert "no database today" in server.log


def test_before_serving_that_hangs(serve: Serve) -> None:
    text = FULL.replace(BEFORE_SERVING, "await asyncio.Event().wait()")
    server = serve(text, "-w", "2", "--boot-timeout", "2")
    assert failed_start(server, after_s=2) == 3
    assert log.tracebacks(server.log) <= 1
    assert "boot" in server.log


def test_before_serving_that_blocks_is_shown_where(serve: Serve) -> None:
    text = FULL.replace(BEFORE_SERVING, "time.sleep(600)  # here it hangs")
    server = serve(text, "-w", "2", "--boot-timeout", "2")
    assert failed_start(server, after_s=2) == 3
    assert "in begin" in server.log, "the stack of what hung"


def test_a_port_that_is_taken_names_the_holder(serve: Serve) -> None:
    import os

    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        server = serve("full", bind=f"127.0.0.1:{port}")
        assert failed_start(server) == 4
    assert str(port) in server.log
    assert str(os.getpid()) in server.log
    assert log.tracebacks(server.log) == 0


@pytest.mark.parametrize("bad", ["missing", "garbage", "other key"])
def test_a_certificate_that_cannot_be_used(serve: Serve, tmp_path: Path, bad: str) -> None:
    from tests.helpers.tls import make_certificate

    certificate, key = make_certificate(tmp_path)
    if bad == "missing":
        certificate = tmp_path / "nowhere.pem"
    elif bad == "garbage":
        certificate.write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    else:
        (tmp_path / "other").mkdir()
        _, key = make_certificate(tmp_path / "other")
    server = serve("full", "-w", "2", "--certfile", str(certificate), "--keyfile", str(key))
    assert failed_start(server) == 4
    assert certificate.name in server.log or key.name in server.log
    assert log.tracebacks(server.log) <= 1


@pytest.mark.parametrize("how", ["os._exit(7)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_workers_that_die_before_they_are_ready(serve: Serve, how: str) -> None:
    server = serve(FULL.replace(BEFORE_SERVING, how), "-w", "2")
    assert failed_start(server, after_s=10) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_starting_is_obeyed(serve: Serve, tmp_path: Path, number: int) -> None:
    events = tmp_path / "events"
    text = FULL.replace(BEFORE_SERVING, 'note("waiting"); await asyncio.Event().wait()')
    server = serve(text, "-w", "2", env={"TESTAPP_EVENTS": str(events)})
    eventually(lambda: events.read_text().count("waiting") == 2, 20, "both workers starting")
    begun = time.monotonic()
    code = server.stop(number)
    assert time.monotonic() - begun < 6
    assert code in (0, 3)
    server.family_gone(1)
    assert log.tracebacks(server.log) == 0


@pytest.mark.parametrize("slow_s", [0.0, 1.0], ids=["asks at once", "asks late"])
def test_from_python_a_failing_start_raises_and_leaves_nothing(serve: Serve, slow_s: float) -> None:
    server = serve(
        f"SLOW_S = {slow_s}"
        """
import time
from aeros import WebServer, AppLoadError
from aeros.start import first

ask = first._wait_until_ready
first._wait_until_ready = lambda *about: (time.sleep(SLOW_S), ask(*about))[1]

app = WebServer(__name__)

@app.before_serving
async def begin():
    raise LookupError("no database today")

if __name__ == "__main__":
    try:
        app.start("-w 2", port=0, block=False)
    except AppLoadError as error:
        print(type(error).__name__, "no database today" in error.traceback)
""",
        bind=None,
    )
    assert failed_start(server) == 0
    assert server.stdout.split() == ["AppLoadError", "True"]
