"""A port of the program's own that is taken already, mostly by the program itself."""

from __future__ import annotations

_ADVICE = (
    ". Each worker runs this, and a reload runs the new program beside the old one, which may hold that port: bind it "
    "with reuse_port=True (SO_REUSEPORT), give each worker a port of its own, or leave it to a process of its own"
)


def with_advice(reason: str) -> str:
    """Return why a program could not start, and what to do where it is a port that is in use."""
    # EADDRINUSE, in the words of Linux and macOS; libraries wrap the exception but keep the text.
    return reason + _ADVICE if "address already in use" in reason.lower() else reason
