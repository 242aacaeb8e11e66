"""What a server is started with: as options say it, as a message has it, and what only root decides of it."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from aeros.core.record import field_names, replace
from aeros.errors import OptionsError
from aeros.options import resolve
from aeros.options.anchor import anchored
from aeros.supervisor.model.plan import Plan, agreed
from aeros.supervisor.model.policy import Policy

OPTIONS = resolve("-b unix:app.sock -b 127.0.0.1:0 --pid-file pid --access-logfile - --error-logfile a.log", environ={})
PLAN, POLICY = Plan.of(OPTIONS, "shop"), Policy.of(OPTIONS)
#: Another value than the plan has, by type.
OTHER: dict[type, Any] = {bool: True, int: 3, str: "other", list: ["other"], type(None): "other"}
FREE = {"name", "worker_class", "backlog", "log_format", "log_level", "ready_min", "warmup", "warnings"}


def other(name: str) -> Any:
    special = {"log_level": "DEBUG", "log_format": "json", "umask": 3, "user": 3, "group": 3, "bind_by_default": True}
    value = getattr(PLAN, name)
    return special.get(name, (not value) if isinstance(value, bool) else OTHER[type(value)])


def as_sent(plan: Plan) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(json.dumps(plan.to_message()))
    return told


def test_a_plan_comes_out_of_a_message_as_it_went_in() -> None:
    assert Plan.from_message(as_sent(PLAN)) == PLAN


@pytest.mark.parametrize("name", field_names(Plan))
def test_only_what_opens_nothing_is_taken_from_another_users_program(name: str) -> None:
    told = Plan.from_message(as_sent(replace(PLAN, **{name: other(name)})))
    if name in FREE:
        assert agreed((PLAN, POLICY), (told, POLICY)) == (told, POLICY)
        return
    with pytest.raises(OptionsError, match=r"ask for other --.*root decides"):
        agreed((PLAN, POLICY), (told, POLICY))


def test_figures_are_taken_and_files_are_not() -> None:
    root = replace(POLICY, tls_files={"pairs": [], "password": "secret"})
    told = replace(POLICY, tls_files={"pairs": [], "password": None}, workers=7, drain_timeout_s=1.0)
    _, policy = agreed((PLAN, root), (PLAN, told))
    assert (policy.workers, policy.drain_timeout_s, policy.tls_files) == (7, 1.0, root.tls_files)
    with pytest.raises(OptionsError, match="log files"):
        agreed((PLAN, root), (PLAN, replace(told, log_files=["/etc/passwd"])))


def test_a_masked_token_is_the_token_and_none_is_not() -> None:
    root, masked = replace(PLAN, admin_token="secret"), replace(PLAN, admin_token="known")
    assert agreed((root, POLICY), (masked, POLICY))[0].admin_token == "secret"
    for one, two in ((root, PLAN), (PLAN, masked)):
        with pytest.raises(OptionsError, match="--admin-token"):
            agreed((one, POLICY), (two, POLICY))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("binds", [1]),
        ("binds", None),
        ("backlog", True),
        ("backlog", 0),
        ("backlog", 2**40),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("pid_file", 3),
        ("pid_file", "a\0b"),
    ],
)
def test_what_no_option_can_say_is_refused(name: str, value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        Plan.from_message(as_sent(PLAN) | {name: value})


def test_what_is_missing_or_unknown_is_refused() -> None:
    told = as_sent(PLAN)
    with pytest.raises(TypeError):
        Plan.from_message(told | {"more": 1})
    del told["binds"]
    with pytest.raises(TypeError):
        Plan.from_message(told)


def test_paths_mean_the_same_when_the_app_has_gone_elsewhere() -> None:
    tls = resolve(
        "-b unix:app.sock -b unix:@name --certfile c.pem --keyfile /abs/k.pem --sni host=a.pem:b.pem --pid-file pid",
        environ={},
    )
    moved = anchored(tls, "/start")
    assert moved.binds == ("unix:/start/app.sock", "unix:@name")
    assert (moved.pid_file, moved.sni) == ("/start/pid", ("host=/start/a.pem:/start/b.pem",))
    assert (moved.hypercorn["certfile"], moved.hypercorn["keyfile"]) == ("/start/c.pem", "/abs/k.pem")
    assert (moved.access_log, moved.error_log, moved.control) == (tls.access_log, tls.error_log, tls.control)
    # To root, which stands where the server was started, they are no other ones.
    here = Plan.of(anchored(OPTIONS, os.getcwd()), "shop")  # noqa: PTH109
    assert agreed((PLAN, POLICY), (here, POLICY))[0] == PLAN
