"""--run-as: root binds, reads keys and opens logs; the app's processes are somebody else, for good."""

from __future__ import annotations

import json
import os
import pwd
import signal
from pathlib import Path

import pytest

from aeros.core.process.privileges import UnknownAccountError, find_account, readable_by
from tests.conftest import Serve
from tests.helpers.authority import Authority
from tests.helpers.conditions import eventually
from tests.helpers.everybody import interpreter
from tests.helpers.http import get
from tests.helpers.serverproc import ServerProcess

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

APP = """
import ctypes, os, sys
from aeros import WebServer

app = WebServer(__name__)
loaded_as = os.geteuid()

@app.before_fork
def before_fork(info):
    global zygote
    zygote = os.getresuid(), os.getresgid()

@app.get("/")
async def home():
    try:
        os.setuid(0)
        back = True
    except PermissionError:
        back = False
    return {
        "uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(), "zygote": zygote, "back": back,
        "loaded_as": loaded_as, "no_new_privs": ctypes.CDLL(None).prctl(39, 0, 0, 0, 0), "home": os.environ["HOME"],
    }

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


def uids_of(pid: int) -> set[str]:
    """Real, effective, saved and file system user of a process."""
    return set(Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[:4])


def as_nobody(serve: Serve, folder: Path, *args: str, **how: object) -> ServerProcess:
    program = folder / "app.py"
    program.write_text(APP)
    program.chmod(0o644)
    python, environment = interpreter()
    argv = [python, str(program), "-b", "127.0.0.1:0", "--run-as", "nobody", *args]
    # A reload begins where the first start stood, and the folders of pytest are their owner's alone.
    return serve(argv=["sh", "-c", 'cd "$0" && exec "$@"', str(folder), *argv], env=environment, **how)


@ROOT_ONLY
@pytest.mark.limit_s(120)
def test_workers_and_zygotes_are_the_user_in_every_generation(serve: Serve, open_folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    ids = {"uids": [nobody.pw_uid] * 3, "gids": [nobody.pw_gid] * 3, "groups": [nobody.pw_gid]}
    access = open_folder / "logs" / "access.log"
    access.parent.mkdir(mode=0o755)
    authority = Authority(open_folder)
    cert, key = authority.pair("live", "localhost", "127.0.0.1")
    key.chmod(0o600)
    server = as_nobody(
        serve, open_folder, "-w", "2", "--access-logfile", str(access), "--certfile", str(cert), "--keyfile", str(key)
    ).ready()

    def seen() -> dict[str, object]:
        told = get(server.address, tls=authority.context()).json()
        assert {name: told[name] for name in ids} == ids
        assert told["zygote"] == [ids["uids"], ids["gids"]]
        assert (told["back"], told["no_new_privs"], told["home"]) == (False, 1, nobody.pw_dir)
        return dict(told)

    assert seen()["loaded_as"] == 0  # the program that called start() is root's
    assert uids_of(server.pid) == {"0"}
    assert {uid for pid in server.complete(2) - {server.pid} for uid in uids_of(pid)} == {str(nobody.pw_uid)}

    server.send_signal(signal.SIGHUP)
    server.settled(2)
    assert seen()["loaded_as"] == nobody.pw_uid  # from now on it is loaded by the user as well
    assert {uid for pid in server.complete(2) - {server.pid} for uid in uids_of(pid)} == {str(nobody.pw_uid)}

    # Rotation: the folder is root's alone to write, and still everybody finds the new file.
    access.rename(access.with_suffix(".1"))
    server.send_signal(signal.SIGUSR1)
    server.wait_log("log files reopened")

    def written() -> bool:
        seen()
        return access.exists() and "GET /" in access.read_text()

    eventually(written, 5)
    assert access.stat().st_uid == nobody.pw_uid

    worker = next(iter(server.ready_pids()))
    server.expect("SIGKILL")
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: worker not in server.ready_pids() and len(server.ready_pids()) == 2, 10)
    seen()
    # Renewed by the supervisor, who alone may read the key.
    authority.pair("live", "localhost", "127.0.0.1")
    key.chmod(0o600)
    server.wait_log("certificate renewed", 5)
    seen()
    assert server.stop() == 0


@ROOT_ONLY
def test_after_a_supervisor_is_killed_nothing_of_the_user_is_left(serve: Serve, open_folder: Path) -> None:
    server = as_nobody(serve, open_folder, "-w", "1", "--drain-timeout", "1").ready()
    server.send_signal(signal.SIGHUP)
    server.settled(2)
    server.complete(1)
    os.kill(server.pid, signal.SIGKILL)
    server.family_gone(8)


def test_unknown_users_are_refused_in_a_sentence(serve: Serve) -> None:
    server = serve("plain", "--run-as", "nobody-of-that-name:staff")
    assert server.wait_exit() == 2
    assert "--run-as must be USER or USER:GROUP; there is no user nobody-of-that-name on this machine" in server.log


@ROOT_ONLY
def test_who_is_not_root_is_told(serve: Serve, open_folder: Path) -> None:
    def become_daemon() -> None:
        os.setgid(1)
        os.setuid(1)

    server = as_nobody(serve, open_folder, preexec=become_daemon)
    assert server.wait_exit() == 2
    assert "--run-as nobody needs the server to be started by root" in server.log


def test_accounts_by_name_and_number(tmp_path: Path) -> None:
    root = find_account("root")
    assert (root.uid, root.gid, root.home) == (0, 0, pwd.getpwuid(0).pw_dir)
    assert 0 in root.groups
    assert find_account("0:0").name == "root"
    assert find_account("4000000:7").groups == (7,)
    for wrong in ("4000000", "root:no-such-group", "", ":root"):
        with pytest.raises(UnknownAccountError):
            find_account(wrong)
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    assert readable_by(root, str(secret))
    assert not readable_by(find_account("4000000:4000000"), str(secret))


LOG_CONFIG = """
import logging, os
from pathlib import Path

class Handler(logging.FileHandler):
    def __init__(self, folder):
        with open(f"{folder}/made-by", "a") as file:
            file.write(f"{os.geteuid()}\\n")
        super().__init__(f"{folder}/own.log")
"""


@ROOT_ONLY
def test_a_log_configuration_is_code_that_only_the_user_runs(serve: Serve, open_folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    logs = open_folder / "logs"
    logs.mkdir()
    os.chown(logs, nobody.pw_uid, nobody.pw_gid)
    (open_folder / "handlers.py").write_text(LOG_CONFIG)
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"own": {"()": "handlers.Handler", "folder": str(logs)}},
        "loggers": {"hypercorn.access": {"handlers": ["own"], "level": "INFO"}},
    }
    (open_folder / "logs.json").write_text(json.dumps(config))
    arguments = ("-w", "2", "--log-config", f"json:{open_folder}/logs.json", "--access-logfile", "/dev/null")
    server = as_nobody(serve, open_folder, *arguments).ready()
    server.send_signal(signal.SIGHUP)
    server.settled(2)
    assert server.get().status == 200
    eventually(lambda: "GET / " in (logs / "own.log").read_text(), 5)
    assert set((logs / "made-by").read_text().split()) == {str(nobody.pw_uid)}
    assert (logs / "own.log").stat().st_uid == nobody.pw_uid
    assert server.stop() == 0
