"""breakpoint() in a worker: a prompt at the terminal of the server, or a line that says how to get one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

from ...core.process.terminal import group_in_front


class Breakpoints:
    """What breakpoint() does in this process, unless the program or PYTHONBREAKPOINT says otherwise."""

    def __init__(
        self,
        workers: int,
        supervisor_pid: Callable[[], int],
        holding: Callable[[], AbstractContextManager[None]],
        warn: Callable[[str], None],
    ) -> None:
        """workers: how many were asked for. holding: a block in which the loop may stand still. warn: logs a line."""
        self._workers = workers
        self._supervisor_pid = supervisor_pid
        self._holding = holding
        self._warn = warn
        self._passed_over: set[tuple[str, int]] = set()

    def install(self) -> None:
        """Be sys.breakpointhook. Debuggers have put their own there, and it stays."""
        if sys.breakpointhook is sys.__breakpointhook__ and not os.environ.get("PYTHONBREAKPOINT"):
            sys.breakpointhook = self._hook

    def _hook(self, *arguments: object, **keywords: object) -> None:
        frame = sys._getframe(1)
        why_not = self._why_not()
        if not why_not:
            from .prompt import Prompt  # pdb takes 0.1 s to import, and is wanted here alone

            Prompt(self._holding).set_trace(frame)
            return
        place = (frame.f_code.co_filename, frame.f_lineno)
        if place not in self._passed_over:
            self._passed_over.add(place)
            self._warn(
                f"breakpoint() at {place[0]}:{place[1]} is passed over: {why_not}. For a prompt start the server in a "
                "terminal with -w 1; otherwise attach a debugger, as with debugpy.listen() in before_serving"
            )

    def _why_not(self) -> str:
        """Return why nobody could answer a prompt, or ""."""
        if self._workers != 1:
            return f"there are {self._workers} workers, and one terminal at most"
        front = group_in_front()
        if front is None:
            return "standard input is not the terminal of the server"
        try:
            ours = (os.getpgrp(), os.getpgid(self._supervisor_pid()))
        except OSError:
            return "the supervisor is gone"
        return "" if front in ours else "the server runs in the background of its terminal"
