"""A Quart that nobody compared with is served by its own code, and the log says so once."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from aeros.quart.versions import knows_quart
from tests.conftest import Serve
from tests.helpers.http import get

UNKNOWN = """
import sys
from aeros.quart import versions as compat
compat.COMPARED_WITH = ("0.1.",)
from aeros import WebServer
from quart import Quart

app = WebServer(__name__)


@app.get("/")
async def index():
    return {"own": type(app).handle_request is Quart.handle_request}


sys.exit(app.start(sys.argv[1:]))
"""


def test_it_is_served_by_its_own_code_and_the_log_says_so_once(serve: Serve) -> None:
    server = serve(UNKNOWN, "-w", "3").ready(3)
    assert get(server.address, "/").json() == {"own": True}
    server.handle().reload(timeout=30)
    server.settled(2)
    assert get(server.address, "/").json() == {"own": True}
    assert server.stop() == 0
    line = f"Quart {version('quart')} is served by its own, slower code: the lean path knows 0.1.*"
    assert server.log.count(line) == 1


@pytest.mark.skipif(not knows_quart(), reason="this Quart is not known")
def test_nothing_is_said_of_one_that_is_known(serve: Serve) -> None:
    server = serve("plain", "-w", "2").ready(2)
    assert server.stop() == 0
    assert "slower code" not in server.log
