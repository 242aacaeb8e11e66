"""How long an end of HTTP/2 connections takes; for those of the fast lane and of Hypercorn alike."""

from __future__ import annotations

GOAWAY_GRACE_S = 0.2
"""Between the GOAWAY that announces the end and the one that names the last stream (RFC 9113 section 6.8).

What the client sent before it read the first is still served; a round trip is all this needs to cover.
"""

GOAWAY_IDLE_WAIT_S = 5.0
"""How long a busy HTTP/2 connection is watched for an idle moment before it is sent GOAWAY all the same.

By the RFC a GOAWAY harms no open stream, but clients built on Python's h2 (httpx) give all of them up on it.
"""
