"""The code blocks of the documentation's pages, with the marks that stand above them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path for folder in ("start", "how-to", "migrate", "about") for path in ROOT.glob(f"docs/{folder}/*.md"))
#: What is longer and older: its commands and options are compared with the program, too.
LONG_PAGES = [
    *(ROOT / f"docs/{name}.md" for name in ("guide", "operations", "scale-out", "least-rights", "tools", "index")),
    ROOT / "README.md",
    ROOT / "SECURITY.md",
]

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
_MARK = re.compile(r"<!-- (not run|file|log|part)(?:: (.*?))? -->\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block. mark: "" or the word of the comment above it; said: what the comment says after its colon.

    not run: a console block that needs what a test has not, and why.
    file: the text is part of that file of the repository.
    log: lines of the server's log.
    part: a piece of a file, which is not written.
    """

    page: Path
    line: int
    language: str
    title: str
    text: str
    mark: str
    said: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A line behind a prompt, and the output that the page shows for it. as_root: the prompt is #."""

    text: str
    output: str
    as_root: bool


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        before = text[: match.start()]
        mark = _MARK.search(before)
        indent = match["indent"]
        body = "\n".join(line.removeprefix(indent) for line in match["text"].split("\n"))
        found.append(
            Block(
                page,
                before.count("\n") + 1,
                match["language"],
                match["title"] or "",
                body,
                mark[1] if mark else "",
                (mark[2] or "") if mark else "",
            )
        )
    return found


def commands_of(block: Block) -> Iterator[Command]:
    """Yield the commands of a console block. A line that ends with a backslash goes on in the next."""
    command, output, as_root = "", [], False
    for line in block.text.splitlines():
        prompt = re.match(r"(?:\([\w.]+\) )?([$#]) (?=\S)(.*)", line)
        if command.endswith("\\"):
            command = command[:-1] + line.strip()
        elif prompt:
            if command:
                yield Command(command, "\n".join(output), as_root)
            command, output, as_root = prompt[2], [], prompt[1] == "#"
        else:
            output.append(line)
    if command:
        yield Command(command, "\n".join(output), as_root)
