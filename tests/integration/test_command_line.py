"""The `aeros` command: what it prints, and its exit code, for right and for wrong use."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.apps import replace, source_of
from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.serverproc import run_command


def aeros(folder: Path, *args: str, **env: str):  # type: ignore[no-untyped-def]
    return run_command([sys.executable, "-m", "aeros", *args], folder, folder, 30.0, **env)


def test_status_for_people_and_for_programs(serve: Serve) -> None:
    server = serve("full", "-w", "2").ready(2)
    for named in ((str(server.pid),), (str(server.control_path),), ()):
        shown = server.command("status", *named)
        assert shown.returncode == 0, shown.stderr
        for worker in server.workers():
            assert str(worker.pid) in shown.stdout
        assert server.url in shown.stdout
    machine = server.command("status", str(server.pid), "--json")
    record = json.loads(machine.stdout)
    assert record["pid"] == server.pid
    assert {worker["pid"] for worker in record["workers"]} == server.ready_pids()
    assert server.stop() == 0


def test_commands_without_a_pid_find_the_only_server(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    assert server.command("reload").returncode == 0
    assert server.command("scale", "2").returncode == 0
    server.settled(2)
    assert server.command("stop").returncode == 0
    assert server.wait_exit(5) == 0


def test_without_a_pid_and_with_two_servers_it_asks_which(serve: Serve) -> None:
    first = serve("full", "-w", "1").ready(1)
    second = serve("full", "-w", "1", runtime_dir=first.runtime_dir).ready(1)
    asked = first.command("stop")
    assert asked.returncode in (1, 2)
    assert str(first.pid) in asked.stderr
    assert str(second.pid) in asked.stderr
    assert first.get().status == second.get().status == 200
    assert first.command("stop", str(second.pid)).returncode == 0
    assert second.wait_exit(5) == 0
    assert first.stop() == 0


def test_a_refused_reload_prints_the_traceback_and_exits_1(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "1").ready(1)
    server.expect("reload", "Traceback", "Error")
    replace(tmp_path / "app.py", "import warehouze\n")
    asked = server.command("reload", str(server.pid))
    assert asked.returncode == 1
    said = asked.stdout + asked.stderr
    assert "No module named 'warehouze'" in said
    assert 'app.py", line 1' in said
    assert "aeros/cli/command_line.py" not in said, "the traceback is the app's, not ours"
    assert server.stop() == 0


@pytest.mark.parametrize(
    "args",
    [
        ("status", str(os.getpid())),
        ("reload", str(os.getpid())),
        ("stop", "999999999"),
        ("scale", str(os.getpid()), "2"),
        ("status", "/nowhere/at/all.sock"),
    ],
)
def test_a_pid_that_is_no_server_is_one_sentence_and_exit_1(tmp_path: Path, args: tuple[str, ...]) -> None:
    done = aeros(tmp_path, *args)
    assert done.returncode == 1, done
    assert args[1] in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("run", "app:app", "--wokers", "2"), "--workers"),
        (("run", "app:app", "-w", "two"), "two"),
        (("run", "app:app", "-w", "-1"), "-w must be"),
        (("run", "app:app", "-k", "trio"), "trio"),
        (("run", "app:app", "--drain-timeout", "soon"), "soon"),
        (("run", "app:app", "--max-rss", "lots"), "lots"),
        (("frobnicate",), "frobnicate"),
        (("scale",), "N"),
        (("scale", "many"), "number of workers"),
    ],
)
def test_wrong_use_is_exit_2_naming_the_option(tmp_path: Path, args: tuple[str, ...], named: str) -> None:
    (tmp_path / "app.py").write_text(source_of("full"))
    done = aeros(tmp_path, *args)
    assert done.returncode == 2, done
    assert named in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("wrong", ["--wokers 2", "-w two", "-k trio", "-w 2 'unclosed"])
def test_wrong_options_in_the_program_exit_2(serve: Serve, wrong: str) -> None:
    text = source_of("full").replace("app.start(sys.argv[1:])", f"app.start({wrong!r})")
    server = serve(text, bind=None)
    server.expect("")
    assert server.wait_exit(20) == 2
    assert "Traceback" not in server.log
    server.family_gone(1)


def test_help_and_version(tmp_path: Path) -> None:
    shown = aeros(tmp_path, "--help")
    assert shown.returncode == 0
    for command in ("run", "status", "reload", "scale", "stop"):
        assert command in shown.stdout
    assert aeros(tmp_path, "run", "--help").returncode == 0
    version = aeros(tmp_path, "--version")
    assert version.returncode == 0
    from aeros.version import __version__

    assert __version__ in version.stdout


def test_settings_from_the_environment_and_a_file(serve: Serve, tmp_path: Path) -> None:
    """Arguments over environment over file."""
    config = tmp_path / "settings.toml"
    config.write_text('workers = 4\nbind = "127.0.0.1:0"\n')
    server = serve("full", "-c", str(config), bind=None).ready()
    assert server.status().target_workers == 4
    assert server.stop() == 0
    server = serve("full", "-c", str(config), bind=None, env={"WEB_CONCURRENCY": "3"}).ready()
    assert server.status().target_workers == 3
    assert server.stop() == 0
    server = serve("full", "-c", str(config), "-w", "2", bind=None, env={"WEB_CONCURRENCY": "3"}).ready()
    assert server.status().target_workers == 2
    assert server.stop() == 0


def test_reload_applies_the_new_options_of_the_new_program(serve: Serve, tmp_path: Path) -> None:
    text = source_of("full").replace("app.start(sys.argv[1:])", "app.start('-w 1 -b 127.0.0.1:0')")
    server = serve(text, bind=None).ready(1)
    address = server.address
    replace(tmp_path / "app.py", text.replace("-w 1", "-w 3"))
    done = server.command("reload", str(server.pid))
    assert done.returncode == 0, done.stderr
    assert len(server.settled(2).workers) == 3
    assert server.address == address
    assert server.stop() == 0


def test_restart_takes_a_slot_a_server_or_both(serve: Serve) -> None:
    server = serve("plain", "-w", "2").ready(2)
    pid = str(server.pid)

    def replaced(*words: str) -> set[int]:
        """The slots that have another worker after the command."""
        before = {worker.slot: worker.pid for worker in server.workers()}
        done = server.command("restart", *words)
        assert done.returncode == 0, done.stderr
        told = {int(number) for number in re.findall(r"\d+", done.stdout.partition("restarting")[2])}

        def others() -> bool:
            now = {worker.slot: worker.pid for worker in server.workers("ready")}
            return len(server.workers()) == 2 and {slot for slot in now if now[slot] != before[slot]} == told

        eventually(others, what=f"other workers in {told}")
        return told

    assert replaced("1") == {1}
    assert replaced(pid, "0") == {0}
    assert replaced("--server", pid, "1") == {1}
    assert replaced(str(server.control_path), "--slot", "0") == {0}
    assert replaced(pid) == {0, 1}
    for words, sentence in {
        ("7",): "there is no slot 7; slots are 0 to 1",
        (pid, "x"): "takes the number of a slot, not 'x'",
        (pid, "1", "--slot", "1"): "takes no more than that",
        (pid, "--server", pid): "name one server",
    }.items():
        done = server.command("restart", *words)
        assert done.returncode == 2, (words, done.stderr)
        assert sentence in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert "slot=1" in server.command("stack", "--server", pid, "1").stdout
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("status", "--jsn"), "unknown option --jsn: did you mean --json?"),
        (("stop", "--zzzzzz"), "unknown option --zzzzzz: `aeros stop --help` lists all options"),
        (("run", "app", "--wokers", "2"), "unknown option --wokers: did you mean --workers?"),
        (("stat",), "there is no command 'stat': did you mean status?"),
        (("zzzzzz",), "there is no command 'zzzzzz': aeros --help lists them"),
        (("completion", "tcsh"), "shell must be bash, zsh or fish, not 'tcsh'"),
        (("reload", "--timeout", "0"), "--timeout must be more than 0, not '0'"),
    ],
)
def test_a_mistake_is_answered_with_what_was_meant(tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    done = aeros(tmp_path, *words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"aeros: {sentence}\n")
