"""Secrets given by variables: in no environment of the family, and still there for who needs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers import proc, tls
from tests.helpers.conditions import eventually
from tests.helpers.everybody import interpreter
from tests.helpers.serverproc import ServerProcess
from tests.integration.test_admin import up
from tests.integration.test_upgrade import upgrade

TOKEN, PASSWORD = "tok-6f1c9e-secret", "pw-83ab21-secret"
SECRETS = {"AEROS_ADMIN_TOKEN": TOKEN, "AEROS_KEYFILE_PASSWORD": PASSWORD}

# Tells what the app can find out about them: in its environment, that of what it starts, and those of its family.
APP = """
import contextlib, gc, os, subprocess, sys
from pathlib import Path
from aeros import WebServer
app = WebServer(__name__)
at_import = dict(os.environ)

@app.route("/")
async def home():
    helper = subprocess.run(["env"], capture_output=True, text=True).stdout
    found = [str(dict(os.environ)), helper]
    for pid in (os.getpid(), os.getppid()):
        with contextlib.suppress(PermissionError):  # it was root's
            found.append(Path(f"/proc/{pid}/environ").read_bytes().decode())
    return "\\n".join(found)

@app.route("/objects")
async def objects():
    # What a curious app finds without reading raw memory: the server's own settings.
    kinds = ("AdminSettings", "CommandLine", "Options")
    return "\\n".join(str(vars(o) if hasattr(o, "__dict__") else [getattr(o, n, "") for n in type(o).__slots__])
                      for o in gc.get_objects() if type(o).__name__ in kinds)

@app.route("/import")
async def imported():
    return at_import

if __name__ == "__main__":
    app.start(sys.argv[1:])
    print("token", os.environ.get("AEROS_ADMIN_TOKEN"), flush=True)
"""


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, ...]:
    """Options for TLS with a key that has a password."""
    certificate, plain = tls.make_certificate(tmp_path)
    locked = tmp_path / "locked.pem"
    command = ["openssl", "pkcs8", "-topk8", "-in", str(plain), "-out", str(locked), "-passout", f"pass:{PASSWORD}"]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return ("--certfile", str(certificate), "--keyfile", str(locked), "--insecure-bind", "127.0.0.1:0")


def plain_url(server: ServerProcess) -> str:
    return next(url for url in server.status().addresses if url.startswith("http://"))


def fetch(server: ServerProcess, path: str) -> str:
    with urllib.request.urlopen(plain_url(server) + path, timeout=20) as answer:
        return str(answer.read().decode())


def look(server: ServerProcess) -> None:
    """Nothing of them is in any environment of the family, nor in what the app can easily reach."""
    for pid in server.family:
        try:
            shown = Path(f"/proc/{pid}/environ").read_bytes().decode()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        for secret in SECRETS.values():
            assert secret not in shown, f"{secret} in the environment of {pid}: {proc.command(pid)}"
    assert not [secret for secret in SECRETS.values() if secret in fetch(server, "/")]
    assert TOKEN not in fetch(server, "/objects")


def needs_token(server: ServerProcess) -> None:
    """The dashboard knows the token still."""
    request = urllib.request.Request(server.status().admin + "/status.json")
    request.add_header("Authorization", f"Bearer {TOKEN}")
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert json.loads(answer.read())["pid"] == server.pid


@pytest.mark.limit_s(180)
@pytest.mark.parametrize("titles", ["auto", "off"])
def test_they_are_in_no_environment_and_reloads_and_upgrades_have_them(
    serve: Serve, keys: tuple[str, ...], titles: str
) -> None:
    options = ("-w", "2", "--admin", "127.0.0.1:0", "--admin-write", "--proctitle", titles, *keys)
    server = up(serve(APP, *options, env=SECRETS).ready(2))
    look(server)
    needs_token(server)
    server.send_signal(signal.SIGHUP)
    server.settled(2)
    look(server)
    assert not [secret for secret in SECRETS.values() if secret in fetch(server, "/import")], (
        "not while it loads, either"
    )
    upgrade(server)
    eventually(lambda: len(server.ready_pids()) == 2, 20)
    up(server)
    look(server)
    needs_token(server)
    server.handle().reload(timeout=60)
    look(server)
    assert server.stop() == 0
    assert not [secret for secret in SECRETS.values() if secret in server.log]


def test_the_program_has_them_back_when_its_server_is_over(serve: Serve) -> None:
    server = serve(APP, "-w", "1", "--admin", "127.0.0.1:0", env={"AEROS_ADMIN_TOKEN": TOKEN}).ready(1)
    assert server.stop() == 0
    assert f"token {TOKEN}" in server.stdout


def test_aeros_run_hides_them_before_the_app_is_loaded(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(APP)
    argv = [sys.executable, "-m", "aeros", "run", "main:app", "-b", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    server = serve(argv=argv, env={"AEROS_ADMIN_TOKEN": TOKEN}).ready(1)
    assert TOKEN not in fetch(server, "/import")
    look(server)


@pytest.mark.limit_s(120)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give root up")
def test_a_reload_as_another_user_is_told_none(serve: Serve, keys: tuple[str, ...], open_folder: Path) -> None:
    source = APP.replace("at_import = dict(os.environ)", 'at_import = {"uid": os.geteuid()} | os.environ')
    program = open_folder / "app.py"
    program.write_text(source)
    python, environment = interpreter()
    argv = [python, str(program), "-b", "127.0.0.1:0", "-w", "1", "--run-as", "nobody", "--admin", "127.0.0.1:0", *keys]
    argv = ["sh", "-c", 'cd "$0" && exec "$@"', str(open_folder), *argv]
    server = up(serve(argv=argv, env=SECRETS | environment).ready(1))
    look(server)
    server.handle().reload(timeout=60)
    told = fetch(server, "/import")
    assert json.loads(told)["uid"] == 65534
    assert not [secret for secret in SECRETS.values() if secret in told + fetch(server, "/objects")]
    needs_token(server)
