"""A program being run again, from its launch until it reaches start() or ends before."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping

from ...core.ipc.channel import Channel, ChannelClosed
from ...core.ipc.messages import Secrets, clip
from ...core.net.shared_ports import with_advice
from ...core.process.signalling import describe_exit
from ...core.text import continuation
from ...options.secrets import MASK
from ..state.office import Office
from ..system.launch import CommandLine
from ..system.summons import CHANNEL_VARIABLE
from .links import ZYGOTE_BOUNDS

#: How much of the end of what it printed is kept, for whoever asked for the reload.
_TAIL_BYTES = 64 * 1024
#: A line without an end is not waited for beyond this.
_LONGEST_LINE = 64 * 1024


class Loader:
    """What it writes to standard error passes through to ours, and its end is kept: a SyntaxError is reported by
    an interpreter that never got as far as any code of ours."""

    def __init__(self, office: Office, pid: int, generation: int, stderr_fd: int) -> None:
        #: What it is called in sentences.
        self.what = "the new program"
        self.pid = pid
        self.generation = generation
        self._office = office
        self._system = office.system
        self._fd = stderr_fd
        self._tail = bytearray()
        self._begun = b""
        self._aborted = ""
        # Among JSON lines the program's own text would be garbage; there it is logged as a record at the end.
        self._passes_through = office.log.log_format == "text"
        os.set_blocking(stderr_fd, False)
        office.loop.add_reader(stderr_fd, self._read)

    def _read(self) -> int:
        """Take what is there; return how much it was."""
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return 0
        if not data:
            self._office.loop.remove_reader(self._fd)
            return 0
        if self._passes_through:
            self._pass_on(data)
        self._tail += data
        del self._tail[:-_TAIL_BYTES]
        return len(data)

    def _pass_on(self, data: bytes) -> None:
        """Write whole lines to the log, indented: what it prints must not look like entries of ours."""
        *lines, self._begun = (self._begun + data).split(b"\n")
        if len(self._begun) > _LONGEST_LINE:
            lines, self._begun = [*lines, self._begun], b""
        if lines:
            self._office.log.emit(continuation(b"\n".join(lines).decode("utf-8", "replace")))

    def abort(self, why: str) -> None:
        """Have it print its stack and end (SIGABRT, answered by PYTHONFAULTHANDLER; no core file is left)."""
        self._aborted = why
        with contextlib.suppress(Exception):
            import resource

            resource.prlimit(self.pid, resource.RLIMIT_CORE, (0, 0))  # type: ignore[attr-defined,unused-ignore]
        with contextlib.suppress(ProcessLookupError):
            self._system.kill(self.pid, signal.SIGABRT)

    def kill(self) -> None:
        """End it and whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            self._system.kill_group(self.pid, signal.SIGKILL)

    def reap(self) -> int | None:
        """Return its wait status if it has ended, with its last words read; else None."""
        try:
            status = self._system.reap(self.pid, with_group=True)
        except ChildProcessError:
            status = 0
        if status is not None:
            self.close()
        return status

    def explain(self, status: int) -> tuple[str, str, bool]:
        """Return why it did not become a generation, in a sentence; what it printed; whether the log has that."""
        said = self._tail.decode("utf-8", "replace")
        logged = self._passes_through
        if self._aborted:
            return f"{self.what} was ended: {self._aborted}", said, logged
        last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")
        reason = f"{self.what} ended with {describe_exit(status)} before it reached start()"
        return with_advice(reason + (f": {clip(last, 500)}" if status and last else "")), said, logged

    def succeeded(self) -> None:
        """It has reached start(): its standard error is the server's own from now on."""
        self.close()
        if self._tail and not self._passes_through:
            self._office.log.info(f"{self.what} printed", output=self._tail.decode("utf-8", "replace"))

    def close(self) -> None:
        """Read what is left, and let go of the pipe. Once is enough."""
        if self._fd < 0:
            return
        while self._read():
            pass
        if self._begun:
            self._pass_on(b"\n")
        self._office.loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1


def run_again(
    office: Office,
    generation: int,
    command: CommandLine,
    variable: str = CHANNEL_VARIABLE,
    environ: Mapping[str, str] | None = None,
) -> tuple[Loader, Channel]:
    """Start the program again; return it, and our end of its channel. variable, environ: see `launch`. One that gets
    variables of its own is not told the secrets.

    Only the process that was started may speak there: what it starts in turn has inherited its end.
    Raises OSError; then nothing was started.
    """
    channel, theirs = office.system.channel_pair("the new program", ZYGOTE_BOUNDS, identified=True)
    try:
        stderr_read, stderr_write = office.system.pipe()
    except OSError:
        channel.close()
        theirs.close()
        raise
    try:
        with theirs:
            pid = office.system.launch(command, theirs.fileno(), stderr_write, variable, environ)
    except OSError:
        channel.close()
        os.close(stderr_read)
        raise
    finally:
        os.close(stderr_write)
    channel.only_from = pid
    if variable == CHANNEL_VARIABLE and command.secrets and not environ:
        tell_secrets(channel, command)
    return Loader(office, pid, generation, stderr_read), channel


def tell_secrets(channel: Channel, command: CommandLine) -> None:
    """Give the program what its options need; one that runs as another user only learns that there is something."""
    known = command.secrets if command.account is None else dict.fromkeys(command.secrets, MASK)
    with contextlib.suppress(ChannelClosed):  # it has ended already, as whoever waits for it will find
        channel.send(Secrets(dict(known)))
