"""The dashboard's page in a real browser."""

from __future__ import annotations

from tests.conftest import Serve
from tests.helpers.chromium import browser
from tests.helpers.conditions import eventually
from tests.helpers.programs import program
from tests.integration.test_admin import up


def test_the_page_shows_the_fleet_and_steers_it(serve: Serve) -> None:
    chromium = program("chromium")
    server = up(serve("full", "-w", "2", "--admin", "127.0.0.1:0", "--admin-write").ready(2))
    with browser(chromium) as page:
        page.open(server.status().admin + "/")
        cards = "[...document.querySelectorAll('#fleet .worker h3')].map(h => h.textContent).join(' ')"
        for pid in server.ready_pids():
            eventually(lambda pid=pid: f"pid {pid}" in page.value(cards), 20, "its card")
        assert page.value("document.querySelectorAll('#plots svg').length") == 6
        page.value("document.getElementById('reload').click()")
        server.settled(2)
        eventually(lambda: "generation 2" in page.value("document.getElementById('facts').textContent"), 20)
        eventually(lambda: "reloaded" in page.value("document.getElementById('events').textContent"), 20)
        assert page.complaints == []
