"""An upgrade that gives the program other arguments, and one that a client of another version asks for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import aeros
from aeros.core.shared.scoreboard import _MAGIC
from aeros.dashboard.history import History
from tests.apps import source_of
from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually
from tests.helpers.serverproc import ServerProcess, environment

BIND = ("-b", "127.0.0.1:0")
START = "    app.start(sys.argv[1:])\n"


def upgrade(server: ServerProcess, *words: str) -> None:
    """Upgrade by the command; `server` is about the next supervisor then."""
    old = server.pid
    done = server.command("upgrade", *words)
    assert done.returncode == 0, done.stderr
    server.succeeded_by(int(re.findall(rf"upgraded: pid (\d+) serves after .*; pid {old} ends", done.stdout)[0]))
    eventually(lambda: not proc.alive(old), 20, "the end of the old one")


def test_other_arguments(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "1", "--pid-file", "pid").ready(1)
    server.handle().scale(3)
    address = server.address
    upgrade(server, str(server.pid), "--", *BIND, "-w", "1", "--proctitle", "other words")
    server.complete(1)  # what was asked for, and not what it was scaled to before
    assert "[other words]" in Path(f"/proc/{server.pid}/cmdline").read_text()
    assert not (tmp_path / "pid").exists(), "all arguments are replaced, not only those that are named"
    record = server.handle().upgrade(arguments=f"{' '.join(BIND)} -w 2")
    server.succeeded_by(record.pid)
    server.complete(2)
    upgrade(server)
    server.complete(2)  # those that were given last are its own now
    assert "other words" not in Path(f"/proc/{server.pid}/cmdline").read_text()
    assert server.address == address
    assert server.get().status == 200
    assert server.stop() == 0


@pytest.mark.parametrize("before", [(), ("-w", "1")])
def test_what_aeros_run_serves_stays(serve: Serve, tmp_path: Path, before: Sequence[str]) -> None:
    (tmp_path / "app.py").write_text(source_of("full", "v1"))
    argv = [sys.executable, "-m", "aeros", "run", *before, "app:app", *BIND]
    server = serve(argv=argv).ready(1)
    upgrade(server, "--", *BIND, "-w", "2")
    server.complete(2)
    upgrade(server, "--", "-w", "1", *BIND)
    server.complete(1)
    assert server.get().status == 200
    words = Path(f"/proc/{server.pid}/cmdline").read_text()
    assert words.startswith("aeros: supervisor")
    assert server.stop() == 0


def test_arguments_that_are_refused(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    server.expect("upgrade refused")
    done = server.command("upgrade", "--", *BIND, "--wokers", "2")
    assert done.returncode == 1
    assert "unknown option --wokers: did you mean --workers?" in done.stderr
    done = server.command("upgrade", "--json", "--", *BIND, "--wokers", "2")
    said = json.loads(done.stdout)
    assert (done.returncode, said["ok"]) == (1, False)
    assert said["reason"].startswith("unknown option --wokers")
    history = History()
    history.add(server.status())
    assert [(event["kind"], event["text"]) for event in history.events] == [
        ("refused", "upgrade refused: unknown option --wokers: did you mean --workers?")
    ]
    assert json.loads(server.command("reload", "--json").stdout)["generation"] == 2
    done = server.command("upgrade", str(server.pid), "-w", "6")
    assert done.returncode == 2
    assert done.stderr == (
        "aeros upgrade has no -w; arguments for the new server come after --: aeros upgrade -- -w …\n"
    )
    done = server.command("upgrade", "--timout", "6")
    assert done.stderr == "aeros: unknown option --timout: did you mean --timeout?\n"
    for arguments, why in [
        (["-w", 6], "must be text or a list of texts"),
        (["a\0b"], "without null bytes"),
        ("-w '6", "cannot split"),
    ]:
        with pytest.raises(aeros.OptionsError, match=why):
            server.handle().upgrade(arguments=arguments)  # type: ignore[arg-type]
    assert server.get().status == 200
    assert server.stop() == 0


def test_a_program_that_changed_its_arguments(serve: Serve) -> None:
    """Nobody knows any more which of the command line's are its own."""
    program = source_of("full", "v1").replace(START, f"    sys.argv.extend(['-w', '2'])\n{START}")
    server = serve(program).ready(2)
    done = server.command("upgrade", "--", *BIND)
    assert done.returncode == 1
    assert f"(pid {server.pid}, http://" in done.stderr
    assert done.stderr.partition("): ")[2] == (
        "upgrade refused, the old server goes on: it cannot be given other arguments: the program has changed "
        "its sys.argv, so nobody knows which arguments are its own\n"
    )
    upgrade(server)
    server.complete(2)
    assert server.stop() == 0


@pytest.mark.parametrize("arguments", [(), ("--", *BIND, "-w", "2")])
def test_a_client_that_cannot_read_the_figures(serve: Serve, tmp_path: Path, arguments: Sequence[str]) -> None:
    """It says so; and it can still bring the server to its own version."""
    server = serve("full", "-w", "1").ready(1)
    script = tmp_path / "other.py"
    script.write_text(
        f"import sys\nimport aeros.core.shared.scoreboard\naeros.core.shared.scoreboard._MAGIC = {_MAGIC + 1}\n"
        "from aeros.cli.command_line import main\nsys.exit(main())\n"
    )

    def other(*words: str) -> subprocess.CompletedProcess[str]:
        env = environment(server.runtime_dir, server.marker)
        command = [sys.executable, str(script), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=env)

    for command in ("status", "requests", "top"):
        done = other(command)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(
            r"aeros: the server \(pid \d+\) is of another Aeros \(.*\), whose figures .*\n", done.stderr
        ), done.stderr
    assert other("reload").returncode == 0
    done = other("upgrade", *arguments)
    assert done.returncode == 0, done.stderr
    server.succeeded_by(int(re.findall(r"upgraded: pid (\d+) serves", done.stdout)[0]))
    server.complete(2 if arguments else 1)
    assert server.stop() == 0


def test_a_server_that_knows_no_other_arguments(serve: Serve) -> None:
    """An older one must not take the command for an upgrade with the arguments it has."""
    program = source_of("full", "v1").replace(
        START,
        "    from aeros.supervisor.commands import CommandHandler as Handler\n    obey = Handler.obey\n"
        "    Handler.obey = lambda self, verb, *more: obey(self, verb.replace('upgrade_with', 'upgrade_'), *more)\n"
        f"{START}",
    )
    server = serve(program).ready(1)
    done = server.command("upgrade", "--", *BIND)
    assert done.returncode == 1
    assert f"(pid {server.pid}, http://" in done.stderr
    assert done.stderr.partition("): ")[2] == (
        "upgrade refused, the old server goes on: the running server is of an older Aeros, which cannot give "
        "its program other arguments; upgrade it without any first\n"
    )
    assert server.stop() == 0
