"""The image's own command line as process 1 of a pid namespace, stopped as Kubernetes and docker do."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.apps import source_of
from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.http import get
from tests.integration.test_pid_one import UNSHARE, may_unshare

DOCKERFILE = Path(__file__).resolve().parents[2] / "deploy" / "docker" / "Dockerfile"


def entry_point() -> list[str]:
    forms = dict(re.findall(r"^(ENTRYPOINT|CMD) (.+)$", DOCKERFILE.read_text(), re.MULTILINE))
    first, *rest = json.loads(forms["ENTRYPOINT"]) + json.loads(forms["CMD"])
    assert first == "aeros"
    return [sys.executable, "-m", "aeros", *("127.0.0.1:0" if word == "0.0.0.0:8000" else word for word in rest)]


@pytest.mark.skipif(not may_unshare(), reason="needs the right to make a pid namespace")
def test_process_1_says_goodbye_before_it_goes(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(source_of("full"))
    server = serve(argv=[*UNSHARE, "--", *entry_point(), "--drain-delay", "1s"])
    server.supervisor_pid = 1
    server.serving()
    (supervisor,) = proc.children(server.pid)
    begun = time.monotonic()
    os.kill(supervisor, signal.SIGTERM)
    server.wait_log("accepting connections for 1")
    answer = get(server.address, "/")
    assert (answer.status, answer.says_close) == (200, True)
    assert server.wait_exit() == 0
    assert time.monotonic() - begun >= 1
