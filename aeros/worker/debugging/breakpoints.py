"""breakpoint() and input() in a worker: they ask at the terminal of the server, or a line says how to get that."""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Callable
from types import FrameType

from .keys import Keys

_HOW = "start the server in a terminal with -w 1"


class Breakpoints:
    """What breakpoint() and input() do in this process, unless the program or PYTHONBREAKPOINT says otherwise.

    pdb.set_trace() asks by input(). A worker is not in the foreground of its terminal, so the kernel would stop it for
    a read (SIGTTIN), and the supervisor would end it.
    """

    def __init__(self, keys: Keys, warn: Callable[[str], None]) -> None:
        """warn: logs a line."""
        self._keys = keys
        self._warn = warn
        self._input = builtins.input
        self._passed_over: set[tuple[str, int]] = set()

    def install(self) -> None:
        """Be sys.breakpointhook and input(). Debuggers have put their own there, and it stays."""
        if sys.breakpointhook is sys.__breakpointhook__ and not os.environ.get("PYTHONBREAKPOINT"):
            sys.breakpointhook = self._hook
        if os.isatty(0):  # all else can be read as ever
            builtins.input = self._ask

    def _hook(self, *arguments: object, **keywords: object) -> None:
        frame = sys._getframe(1)
        why_not = self._keys.why_not()
        if not why_not:
            from .prompt import Prompt  # pdb takes 0.1 s to import, and is wanted here alone

            Prompt(self._keys).set_trace(frame)
            return
        self._say_once(
            frame,
            f"breakpoint() at {{}} is passed over: {why_not}. For a prompt {_HOW}; otherwise attach a debugger, as "
            "with debugpy.listen() in before_serving",
        )

    def _ask(self, prompt: object = "", /) -> str:
        why_not = self._keys.why_not()
        if not why_not:
            with self._keys.taken():
                return self._input(prompt)
        self._say_once(sys._getframe(1), f"input() at {{}} gets nothing to read: {why_not}. For an answer {_HOW}")
        raise EOFError(f"nobody can be asked: {why_not}")

    def _say_once(self, frame: FrameType, text: str) -> None:
        """Log the text, with the place in it."""
        place = (frame.f_code.co_filename, frame.f_lineno)
        if place not in self._passed_over:
            self._passed_over.add(place)
            self._warn(text.format(f"{place[0]}:{place[1]}"))
