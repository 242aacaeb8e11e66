"""As the first process of a container: orphans are reaped, and a stop is obeyed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.apps import HANGING, source_of
from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually

ORPHANS = 30
ROUTE = f"""
@app.get("/orphans")
async def orphans():
    import subprocess
    subprocess.run(["sh", "-c", "for i in $(seq {ORPHANS}); do sleep 1 & done"], check=True)
    return who()

if __name__ == "__main__":
"""

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc"]


@cache
def may_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, timeout=20, check=False).returncode == 0


@pytest.mark.skipif(not may_unshare(), reason="needs the right to make a pid namespace")
def test_orphans_are_reaped_and_term_is_obeyed(serve: Serve, tmp_path: Path) -> None:
    program = tmp_path / "app.py"
    program.write_text(source_of("full").replace('if __name__ == "__main__":\n', ROUTE))
    server = serve(argv=[*UNSHARE, "--", sys.executable, str(program), "-w", "2", "-b", "127.0.0.1:0"])
    server.supervisor_pid = 1
    server.serving()
    (supervisor,) = proc.children(server.pid)
    server.get("/orphans")

    def sleeping() -> int:
        return sum(proc.command(pid) == "sleep 1" for pid in proc.children(supervisor))

    eventually(lambda: sleeping() == ORPHANS, 5, "orphans of the first process")
    eventually(lambda: sleeping() == 0, 5, "ended")
    eventually(lambda: not proc.zombies({supervisor}), 2, "reaped")
    assert server.get().status == 200
    os.kill(supervisor, signal.SIGTERM)
    assert server.wait_exit() == 0


@pytest.mark.skipif(not may_unshare(), reason="needs the right to make a pid namespace")
@pytest.mark.parametrize("how", ["run", "program"])
def test_term_ends_the_import(serve: Serve, tmp_path: Path, how: str) -> None:
    (tmp_path / "app.py").write_text(f"import aeros\n{HANGING}")
    command = ["-m", "aeros", "run", "app:app"] if how == "run" else ["app.py"]
    server = serve(argv=[*UNSHARE, "--", sys.executable, *command])
    eventually((tmp_path / "loading").exists, 30, "the import under way")
    (first,) = proc.children(server.pid)
    os.kill(first, signal.SIGTERM)
    assert server.wait_exit(10) == (0 if how == "run" else 128 + signal.SIGTERM)
