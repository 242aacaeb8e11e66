"""aeros completion: what the shells are told is what the parser knows."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from aeros.cli.command_line import _parser, main
from aeros.cli.completion import SHELLS, script
from aeros.options.table import OPTIONS


def bash(folder: Path, *words: str) -> list[str]:
    """What bash offers for the last of `words`, by the function that the sourced script defines."""
    source = folder / "aeros.bash"
    source.write_text(script(_parser(), "bash"))
    program = f"""
        source {shlex.quote(str(source))}
        COMP_WORDS=({shlex.join(words)})
        COMP_CWORD={len(words) - 1}
        complete -p aeros | grep -q -- '-F _aeros' || exit 9
        _aeros
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-eu", "-c", program], cwd=folder, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("aeros", "st"), ["status", "stack", "stop"]),
        (("aeros", "--v"), ["--version"]),
        (("aeros", "status", "--"), ["--help", "--json", "--server"]),
        (("aeros", "run", "module:app", "--work"), ["--workers", "--worker-class", "--worker-timeout"]),
        (("aeros", "doctor", "--js"), ["--json"]),
        (("aeros", "debug", "0", "de"), ["delay", "deadlock"]),
        (("aeros", "completion", ""), ["bash", "zsh", "fish"]),
        (("aeros", "run", "--certfile", ""), []),  # readline then offers files
        (("aeros", "reload", "--timeout", "--"), []),
        (("aeros", "nonsense", ""), []),
    ],
)
def test_bash_offers(tmp_path: Path, words: tuple[str, ...], offered: list[str]) -> None:
    assert sorted(bash(tmp_path, *words)) == sorted(offered)


def test_bash_offers_every_command_and_every_option(tmp_path: Path) -> None:
    commands = next(action.choices for action in _parser()._actions if action.dest == "command")
    assert commands
    assert bash(tmp_path, "aeros", "") == list(commands)
    flags = {flag for option in OPTIONS for flag in option.arguments}
    assert flags < set(bash(tmp_path, "aeros", "run", "-"))


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_a_script_that_names_all(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    for option in OPTIONS:
        for flag in option.arguments:
            spelled = f"-l {flag[2:]} " if shell == "fish" and flag.startswith("--") else flag
            spelled = f"-s {flag[1:]} " if shell == "fish" and not flag.startswith("--") else spelled
            assert spelled in printed, flag
    for command in ("run", "doctor", "completion", "deadlock"):
        assert command in printed


def test_another_shell_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "tcsh" in capsys.readouterr().err
