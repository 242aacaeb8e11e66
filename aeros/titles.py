"""Process titles: what `ps` and `top` say of each process of the family, instead of one command line many times."""

from __future__ import annotations

import sys
from pathlib import Path

from setproctitle import getproctitle, setproctitle

from .core.text import one_line

#: The program's name in brackets is cut to this.
_LABEL_CHARS = 40


class Title:
    """The title of this process; its forked copies make one of their own.

    label: the program, in brackets at the end, so that who looks for app.py goes on finding it; "": no titles. May be
    changed.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._shown = self._before = ""

    def show(self, text: str) -> None:
        """Say what this process is and does. Costs a system call where that has changed, else next to nothing."""
        if not self.label:
            self.restore()
            return
        title = f"aeros: {text} [{self.label}]"
        if title != self._shown:
            self._before = self._before or getproctitle()
            self._shown = title
            setproctitle(title)

    def restore(self) -> None:
        """As it was: for a program that goes on after its server."""
        if self._shown:
            setproctitle(self._before)
            self._shown = ""


def program_label(wanted: str, program: str) -> str:
    """Return what stands in brackets: `wanted` unless that is "auto", "" for "off".

    program: what to call a program that has no name of its own, such as one from standard input.
    """
    if wanted == "off":
        return ""
    found = wanted if wanted != "auto" else _running_program() or program
    return one_line(found)[:_LABEL_CHARS]


def _running_program() -> str:
    """Return the module of `python -m module`, else the name of the file that runs; never an argument."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    name = Path(sys.argv[0]).name if sys.argv else ""
    return "" if name in ("", "-", "-c") else name
