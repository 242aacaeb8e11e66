"""A server is found by its pid from a shell with other temporary directories than the one it was started in."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.conftest import Serve
from tests.helpers.serverproc import run_command


def test_status_from_a_shell_with_another_temporary_directory(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "1").ready(1)
    other = tmp_path / "other"
    other.mkdir()
    shown = run_command([sys.executable, "-m", "aeros", "status", str(server.pid)], other, server.cwd)
    assert shown.returncode == 0, shown.stderr
    assert str(server.pid) in shown.stdout
    assert server.stop() == 0
