"""What a new program may ask of the supervisor."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from aeros.core.record import replace
from aeros.supervisor.model.policy import Policy

START = Policy(
    workers=2,
    boot_timeout_s=120.0,
    worker_timeout_s=30.0,
    drain_timeout_s=30.0,
    shutdown_timeout_s=10.0,
    max_lifetime_s=None,
    max_rss_bytes=None,
    reload_surge=None,
    use_reloader=False,
    tls_files={"pairs": [], "ca_certs": None, "password": "secret", "watch": True},
    log_files=["/var/log/access.log"],
)


def test_it_comes_back_as_it_was_sent() -> None:
    assert Policy.from_message(START.to_message()) == START


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("workers", number) for number in (0, -1, 401, 2**62)),
        *(("drain_timeout_s", number) for number in (-1, -0.5, 1e300, math.inf, math.nan)),
        *(("max_lifetime_s", number) for number in (-1.0, math.nan)),
        *(("reload_surge", number) for number in (0, -3, 2**40)),
        ("max_rss_bytes", -1),
        ("log_files", [7]),
        ("log_files", ["a\0b"]),
        ("proctitle", "x" * 201),
    ],
)
def test_what_no_option_can_say_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot be "):
        Policy.from_message(START.to_message() | {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("workers", True), ("workers", "2"), ("workers", None), ("use_reloader", 1), ("log_files", {}), ("tls_files", [])],
)
def test_what_is_of_another_type_is_refused(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{name} is a "):
        Policy.from_message(START.to_message() | {name: value})


def test_another_user_changes_figures_only() -> None:
    without_password = {**(START.tls_files or {}), "password": None}
    asked = replace(START, workers=3, drain_timeout_s=1.0, max_rss_bytes=2**30, tls_files=without_password)
    assert asked.beyond(START) == []
    start = replace(START, tls_files={**without_password, "pairs": ({"name": ""},)})
    assert Policy.from_message(json.loads(json.dumps(start.to_message()))).beyond(start) == []
    for changed, words in (
        ({"log_files": ["/etc/passwd"]}, "log files"),
        ({"tls_files": None}, "TLS files"),
        ({"tls_files": {**(START.tls_files or {}), "pairs": [["", "/a", "/b"]]}}, "TLS files"),
        ({"use_reloader": True}, "--reload"),
        ({"debug_faults": True}, "--debug-faults"),
        ({"proctitle": "other"}, "--proctitle"),
    ):
        assert replace(START, **changed).beyond(START) == [words]
