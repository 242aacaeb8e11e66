"""The dashboard's page in a real browser."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Serve
from tests.helpers.chromium import Page, browser
from tests.helpers.conditions import eventually
from tests.helpers.programs import program
from tests.integration.test_admin import up


def test_the_page_shows_the_fleet_and_steers_it(serve: Serve) -> None:
    chromium = program("chromium")
    options = ("-w", "2", "--admin", "127.0.0.1:0", "--admin-write")
    server = up(serve("full", *options, env={"AEROS_ADMIN_TOKEN": TOKEN}).ready(2))
    with browser(chromium) as page:
        log_in(page, server.status().admin + "/", TOKEN)
        server.get("/")
        cards = "[...document.querySelectorAll('#fleet .worker h3')].map(h => h.textContent).join(' ')"
        for pid in server.ready_pids():
            eventually(lambda pid=pid: f"pid {pid}" in page.value(cards), 20, "its card")
        assert page.value("document.querySelectorAll('#plots svg').length") == 6
        eventually(lambda: "GET /" in page.value("document.getElementById('routes').textContent"), 20, "its route")
        page.value("document.querySelector('#fleet button').click()")
        eventually(lambda: "worker slot=0" in page.value("document.getElementById('frames').textContent"), 20)
        page.value("document.getElementById('close').click()")
        page.value("document.getElementById('tail').click()")
        eventually(lambda: "ready in" in page.value("document.getElementById('log').textContent"), 20)
        page.value("document.getElementById('reload').click()")
        server.settled(2)
        eventually(lambda: "generation 2" in page.value("document.getElementById('facts').textContent"), 20)
        eventually(lambda: "reloaded" in page.value("document.getElementById('events').textContent"), 20)
        # What the browser says of the first question, which had no token yet, and nothing else.
        assert [one for one in page.complaints if "/events" not in one] == []


TOKEN = "correct-horse-battery"

# An app that tries to steer its own server with what the operator's browser sends it.
ATTACKER = '''
import json, urllib.request
from aeros import WebServer
from quart import request

app = WebServer(__name__)
app.seen = []

@app.route("/")
async def home():
    return "<script src='/try.js'></script>"

@app.route("/seen")
async def seen():
    return app.seen

@app.before_request
async def note():
    app.seen.append(str(request.headers) + request.full_path)

@app.route("/relay", methods=["POST"])
async def relay():
    """What the app's own code can do with the headers it was sent."""
    target = (await request.get_json())["url"]
    codes = []
    for path in ("/scale", "/status.json", "/login"):
        headers = {name: value for name, value in request.headers.items() if name in ("Cookie", "Authorization")}
        made = urllib.request.Request(target + path, b'{"workers": 2}' if path != "/status.json" else None, headers)
        try:
            with urllib.request.urlopen(made, timeout=5) as answer:
                codes.append(answer.status)
        except urllib.error.HTTPError as error:
            codes.append(error.code)
    return codes

if __name__ == "__main__":
    import sys
    app.start(sys.argv[1:])
'''

ATTACKS = """(async (target) => {
  const post = { method: "POST", body: JSON.stringify({ workers: 2 }), credentials: "include" };
  const tries = [
    { ...post, mode: "no-cors" },
    { ...post, headers: { "Content-Type": "application/json" } },
    { ...post, headers: { Authorization: "Bearer x" } },
  ];
  const seen = [];
  for (const one of tries) {
    try {
      const answer = await fetch(target + "/scale", one);
      seen.push(answer.type);
    } catch (error) { seen.push("refused"); }
  }
  const line = new EventSource(target + "/events", { withCredentials: true });
  seen.push(await new Promise((done) => {
    line.addEventListener("hello", () => done("read"));
    line.onerror = () => done("refused");
  }));
  const relay = { method: "POST", headers: { "Content-Type": "application/json" } };
  const answer = await fetch("/relay", { ...relay, body: JSON.stringify({ url: target }) });
  return JSON.stringify([seen, await answer.text()]);
})"""


def facts(page: Page) -> str:
    return str(page.value("document.getElementById('facts').textContent"))


def log_in(page: Page, url: str, token: str) -> None:
    page.open(url)
    eventually(lambda: page.value("document.getElementById('login')?.hidden === false"), 20, "the form")
    page.value(f"document.getElementById('token').value = {token!r}; document.querySelector('#login button').click()")
    eventually(lambda: "workers ready" in facts(page), 20, "the figures")


@pytest.mark.limit_s(150)
def test_an_app_on_another_port_cannot_use_the_operators_browser(serve: Serve) -> None:
    chromium = program("chromium")
    options = ("-w", "1", "--admin", "127.0.0.1:0", "--admin-write")
    other = up(serve("full", *options, env={"AEROS_ADMIN_TOKEN": TOKEN + "-2"}).ready(1))
    server = up(serve(ATTACKER, *options, env={"AEROS_ADMIN_TOKEN": TOKEN}).ready(1))
    admin = server.status().admin
    with browser(chromium) as page, browser(chromium) as second:
        log_in(page, admin + "/", TOKEN)
        # Two dashboards on one host, in one tab after the other: both stay logged in, each with its own secret.
        log_in(page, other.status().admin + "/", TOKEN + "-2")
        page.open(admin + "/")
        eventually(lambda: f"pid {server.pid}" in facts(page), 20, "the first is still open")
        page.value("document.getElementById('reload').click()")
        server.settled(2)
        # The token is in no address the browser keeps, and no cookie was set.
        assert page.value("document.cookie") == ""
        kept = page.ask("Page.getNavigationHistory")["entries"]
        assert TOKEN not in str(kept)
        assert page.ask("Network.getAllCookies")["cookies"] == []
        assert TOKEN not in page.value("JSON.stringify(sessionStorage) + JSON.stringify(localStorage)")

        host, port = server.address[0], server.address[1]
        page.open(f"http://{host}:{port}/")
        eventually(
            lambda: page.value("document.readyState") == "complete" and page.value("location.port") == str(port), 20
        )
        seen, relayed = json.loads(page.value(f"{ATTACKS}({admin!r})"))
        assert seen == ["refused"] * 4
        assert relayed.strip() == "[401,401,401]"
        assert server.status().target_workers == 1
        told = server.get("/seen").text
        assert TOKEN not in told
        assert "Cookie" not in told
        # A browser that has given no token sees the form, and that one is wrong is said.
        second.open(admin + "/")
        eventually(lambda: second.value("document.getElementById('login')?.hidden === false"), 20, "the form")
        second.value(
            "document.getElementById('token').value = 'wrong'; document.querySelector('#login button').click()"
        )
        eventually(
            lambda: "not this server's token" in second.value("document.getElementById('notice').textContent"), 10
        )
        assert "workers" not in facts(second)
    assert TOKEN not in server.log
