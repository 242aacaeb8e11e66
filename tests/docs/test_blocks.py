"""What the pages print exists: commands and options, defaults, file keys, parts of files; the Python compiles."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from aeros.core.exitcodes import ExitCode
from aeros.options.spec import by_name
from aeros.options.table import OPTIONS
from scripts.site import gunicorn, stage, variables

from .blocks import LONG_PAGES, PAGES, ROOT, Block, blocks_of, commands_of

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
BY_FLAG = {flag: option for option in OPTIONS for flag in (*option.arguments, *option.old_flags)}
# Programs that pages name beside Aeros, with options of their own.
OTHERS = re.compile(
    r"\b(docker|curl|rsync|kubectl|pip|git|openssl|certbot|systemctl|journalctl|gunicorn|uvicorn|granian|quart|hypercorn)\b"
)


def of_page(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@functools.cache
def help_of(command: str) -> str:
    arguments = [command] if command else []
    done = subprocess.run(
        [sys.executable, "-m", "aeros", *arguments, "--help"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    return done.stdout if done.returncode == 0 else ""


def calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each call of `aeros` in a command line or piece of prose: the command, and its options."""
    for match in re.finditer(r"(?<![\w./-])(?:python -m )?aeros ([a-z]+)\b([^|;&`)]*)", text):
        ours = match[2].partition(" -- ")[0]
        yield match[1], re.findall(r"(?<=\s)--?[a-zA-Z][\w-]*", ours)


@pytest.mark.parametrize("page", [*PAGES, *LONG_PAGES], ids=of_page)
def test_each_command_and_option_exists(page: Path) -> None:
    lines = [command.text for block in blocks_of(page) if block.language == "console" for command in commands_of(block)]
    lines += [
        code for code in re.findall(r"`([^`\n]+)`", page.read_text()) if code.startswith(("aeros ", "python -m aeros"))
    ]
    assert "--wokers" in str(lines) or "wokers" not in str(lines)
    for line in lines:
        for command, options in calls(line):
            known = help_of(command)
            assert known, f"{line}: there is no command {command}"
            for option in options:
                assert (
                    option == "--wokers" or re.search(rf"(?<![\w-]){re.escape(option)}\b", known) or option in BY_FLAG
                ), line


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_each_option_named_alone_exists(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    if page.parent.name == "migrate":  # there the first columns have the other server's
        theirs = 3 if page.name == "gunicorn-options.md" else 2
        text = "\n".join(line.split("|", theirs)[-1] if line.startswith("|") else line for line in text.splitlines())
        text = re.sub(r"^.*\b(gunicorn|granian|hypercorn|uvicorn)\b.*$", "", text, flags=re.MULTILINE | re.IGNORECASE)
    every = "".join(help_of(command) for command in ("run", "status", "upgrade", "top", "stop", "logs", "doctor"))
    for code in re.findall(r"`(--[^`\n]+)`", text):
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", code):
            known = option in BY_FLAG or re.search(rf"(?<![\w-]){option}\b", every)
            assert known or option in ("--init", "--tmpfs", "--read-only"), f"{page.name}: {code}"


@pytest.mark.parametrize("page", [*PAGES, *LONG_PAGES], ids=of_page)
def test_each_exit_code_exists(page: Path) -> None:
    text = re.sub(r"^.*\bworker\b.*$", "", page.read_text(), flags=re.MULTILINE)  # apps give those of workers
    said = re.findall(r"\bexit codes? (\d+)|\bexits with (\d+)", text, re.IGNORECASE)
    for code in (int(first or second) for first, second in said):
        assert code in set(ExitCode), f"{page.name}: {code}"


@pytest.mark.parametrize("page", [*PAGES, *LONG_PAGES], ids=of_page)
def test_each_default_is_that_of_the_program(page: Path) -> None:
    text = page.read_text()
    said = re.findall(r"`(--[\w-]+)(?: [^`]*)?` \(default ([^)]+?)\)", text)
    rows = re.findall(r"^\|[^|\n]*\| `(--[\w-]+)` \| (none|[\d.]+[A-Za-z]*)\b", text, re.MULTILINE)
    for flag, value in (*said, *rows):
        option = BY_FLAG[flag]
        shown = option.default_text or option.show(option.default_value())
        assert value.strip("`").replace(" min", "m").replace(" s", "s") == shown, (
            f"{page.name}: {flag} is {shown}, not {value}"
        )


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "python"], ids=lambda block: block.where
)
def test_python_compiles(block: Block) -> None:
    compile(block.text, block.where, "exec", flags=0x2000)  # PyCF_ALLOW_TOP_LEVEL_AWAIT


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark == "file"], ids=lambda block: block.where)
def test_a_part_of_a_file_is_in_that_file(block: Block) -> None:
    lines = [line.strip() for line in (ROOT / block.said).read_text().splitlines()]
    ours = [line.strip() for line in block.text.splitlines()]
    assert any(lines[start : start + len(ours)] == ours for start in range(len(lines))), block.where


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "toml"], ids=lambda block: block.where
)
def test_a_configuration_has_only_names_that_exist(block: Block) -> None:
    for name in tomllib.loads(block.text):
        assert name in by_name(OPTIONS), f"{block.where}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_a_page_has_its_front_matter_and_is_not_long(page: Path) -> None:
    text = page.read_text()
    assert re.match(r"---\ntitle: .+\ndescription: .+\n---\n# .+\n", text)
    words = re.sub(r"^```.*?^```|^\|.*$|^---.*?^---", "", text, flags=re.DOTALL | re.MULTILINE).split()
    assert len(words) <= 450, f"{len(words)} words"
    start = re.search(r"```|^\|", text, re.MULTILINE)
    assert start is not None
    assert len(text[: start.start()].partition("\n# ")[2].split()) <= 120, (
        "no command, table or file in the first 120 words"
    )


def test_no_page_installs_what_has_our_name_on_the_index() -> None:
    assert "pip install aeros" not in " ".join(variables.VARIABLES.values())
    for path in (*ROOT.glob("docs/**/*.md"), ROOT / "README.md"):
        assert not re.search(
            r"(?:pip|uv|uv pip) (?:install|add) \"?aeros\b(?!\[admin\]\" *$)", path.read_text()
        ) or path.name in ("operations.md",), path


def test_the_table_of_gunicorns_settings_is_whole() -> None:
    pytest.importorskip("gunicorn")
    assert (ROOT / "docs/migrate/gunicorn-options.md").read_text() == gunicorn.page()


def test_each_page_is_in_the_navigation() -> None:
    stage.check_navigation()  # raises SystemExit where one is not
