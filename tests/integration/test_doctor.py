"""aeros doctor beside a running server, and on certificates as an operator has them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Serve
from tests.helpers.authority import Authority


def test_it_sees_a_refused_reload(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "1").ready(1)
    server.expect("reload", "Traceback", "Error")
    well = server.command("doctor")
    assert well.returncode == 0, well.stdout
    assert f"server {server.pid} is ready, 1 of 1 workers ready" in well.stdout
    program = tmp_path / "app.py"
    working = program.read_text()
    program.write_text("raise RuntimeError('broken')\n")
    assert server.command("reload").returncode == 1
    ill = server.command("doctor")
    assert ill.returncode == 1
    assert f"the last reload of server {server.pid} was refused" in ill.stdout
    program.write_text(working)
    assert server.command("reload").returncode == 0
    assert server.command("doctor").returncode == 0


def test_it_checks_what_would_be_served(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "1").ready(1)
    certificate, key = Authority(tmp_path).pair("site", "localhost")
    good = ("--certfile", str(certificate), "--keyfile", str(key))
    done = server.command("doctor", "--json", *good)
    assert done.returncode == 0, done.stdout
    (found,) = [finding for finding in json.loads(done.stdout) if finding["check"] == "certificate"]
    assert found["level"] == "warning"  # the authority's certificates last for thirty days, less a moment
    key.write_text("no key")
    done = server.command("doctor", *good)
    assert done.returncode == 1
    assert f"key {key}" in done.stdout
