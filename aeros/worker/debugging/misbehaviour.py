"""What a worker does when `aeros debug` tells it to fail, to rehearse a bad day. Only with --debug-faults."""

from __future__ import annotations

import os
import signal
import threading
import time

from ...core.ipc.messages import MISBEHAVIOURS

_LEAK_BYTES = 64 << 20
_leaked: list[bytes] = []


def misbehave(how: str, seconds: float) -> None:
    """Do it, on the event loop. seconds: how long "delay" lasts. Raises ValueError for an unknown `how`."""
    match how:
        case "delay":
            time.sleep(seconds)
        case "block":
            while True:
                time.sleep(1)
        case "deadlock":
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()
        case "leak":
            # Not zeros: pages that were never written take no memory.
            _leaked.append(b"\1" * _LEAK_BYTES)
        case "exit":
            os._exit(1)
        case "segv":
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGSEGV)
        case _:
            raise ValueError(f"{how!r} is none of {', '.join(MISBEHAVIOURS)}")
