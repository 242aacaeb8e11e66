"""How long the event loop has had nothing to do: what is left of the time is how busy it was."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

_UV_METRICS_IDLE_TIME = 1  # enum uv_loop_option of libuv


def idle_clock(loop: asyncio.AbstractEventLoop) -> Callable[[], int]:
    """Return a function that returns how long `loop` has waited for events so far, in nanoseconds.

    libuv keeps the time itself when asked to; of asyncio's loops the wait is timed. With a loop that offers neither,
    time in which the thread used no processor counts as idle, also when a handler slept.
    """
    if "uvloop" in sys.modules and type(loop).__module__.startswith("uvloop"):
        try:
            return _libuv(loop)
        except (AttributeError, OSError, ImportError):
            return _without_processor
    selector = getattr(loop, "_selector", None)
    return _without_processor if selector is None else _timed(selector)


def _libuv(loop: asyncio.AbstractEventLoop) -> Callable[[], int]:
    import ctypes

    from uvloop import loop as module

    # uvloop carries libuv inside, and hands out the address of its loop; only these two functions have no wrapper.
    library = ctypes.CDLL(module.__file__)
    library.uv_loop_configure.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.uv_metrics_idle_time.argtypes = [ctypes.c_void_p]
    library.uv_metrics_idle_time.restype = ctypes.c_uint64
    unwrap = ctypes.pythonapi.PyCapsule_GetPointer
    unwrap.argtypes, unwrap.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p
    address = unwrap(module.libuv_get_loop_t_ptr(loop), None)  # type: ignore[attr-defined,unused-ignore]
    if library.uv_loop_configure(address, _UV_METRICS_IDLE_TIME):
        raise OSError("this libuv does not measure idle time")
    measure = library.uv_metrics_idle_time
    return lambda: int(measure(address))


def _timed(selector: Any) -> Callable[[], int]:
    idle = 0
    select, clock = selector.select, time.perf_counter_ns

    def timed(timeout: float | None = None) -> Any:
        nonlocal idle
        begun = clock()
        ready = select(timeout)
        idle += clock() - begun
        return ready

    selector.select = timed
    return lambda: idle


def _without_processor() -> int:
    return time.perf_counter_ns() - time.thread_time_ns()
