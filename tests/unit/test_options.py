"""Options: precedence, names, mistakes, and what is promised of the result."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aeros.errors import OptionsError
from aeros.options import Options, argument_parser, arguments_of, options_table, parse, resolve
from aeros.options.model import FIELDS
from aeros.options.spec import by_name
from aeros.options.table import BY_FLAG, GROUPS, OPTIONS

TLS = "--certfile c.pem --keyfile k.pem"


def of(arguments: str | list[str] | None = None, /, **keywords: object) -> Options:
    """Return options from arguments and keywords alone."""
    return resolve(arguments, keywords, environ={})


def refused(arguments: Any = None, /, environ: Mapping[str, str] | None = None, **keywords: object) -> str:
    """Return the sentence these options are refused with."""
    with pytest.raises(OptionsError) as raised:
        resolve(arguments, keywords, environ=environ or {})
    text = str(raised.value)
    assert "\n" not in text
    assert raised.value.exit_code == 2
    return text


# -- the table


def test_every_field_has_a_row_and_every_row_its_place() -> None:
    rows = [option.field for option in OPTIONS if option.field]
    assert sorted(rows) == sorted(FIELDS)
    for option in OPTIONS:
        assert option.field or option.hypercorn or option.name in ("config", "host", "port"), option.name
        assert option.group in GROUPS
        assert option.help.endswith("."), option.name


def test_no_two_options_share_a_name_or_an_argument() -> None:
    names = [name for option in OPTIONS for name in option.names]
    flags = [flag for option in OPTIONS for flag in (*option.arguments, *option.old_flags)]
    assert len(names) == len(set(names)) == len(by_name(OPTIONS))
    assert len(flags) == len(set(flags)) == len(BY_FLAG)


def test_every_default_is_what_its_own_converter_makes_of_it() -> None:
    for option in OPTIONS:
        default = option.default_value()
        if option.name not in ("config", "logger_class"):
            assert option.convert(default) == default, option.name


def test_every_option_can_be_given_in_every_way() -> None:
    samples = {"bind": "127.0.0.1:9", "worker_class": "asyncio", "log_format": "json", "log_level": "DEBUG"}
    samples |= {"http": "hypercorn", "load": "worker", "immortal": "off", "lifespan": "on", "faults": "fork=EAGAIN:0.5"}
    samples["http2"] = "off"
    samples |= {"sni": "x.org=c.pem:k.pem", "tls_watch": "off"}
    samples["warmup"] = "/"
    samples |= {"forwarded_header": "forwarded"}
    samples |= {"forwarded_allow": "10.0.0.0/8", "proxy_protocol": "10.0.0.0/8"}
    samples |= {"run_as": "7:7", "headers": "X-A:b"}
    samples |= {"admin": "127.0.0.1:9", "admin_token": "12345678", "admin_mode": "0660", "admin_details": "off"}
    for option in OPTIONS:
        if option.field is None or option.kind == "switch" or option.name in ("insecure_bind", "quic_bind"):
            continue
        text = samples.get(option.name, "7M" if option.metavar == "SIZE" else "7")
        also = {"max_requests": "9"} if option.name == "max_requests_jitter" else {}
        flag = option.arguments[-1]
        results = [
            resolve([flag, text], also, environ={}),
            *(resolve(None, {name: text, **also}, environ={}) for name in option.names),
            resolve(None, also, environ={option.variable: text}),
            resolve(None, also, constructor={option.name: text}, environ={}),
        ]
        assert len({repr(getattr(result, option.field)) for result in results}) == 1, option.name
        assert getattr(results[0], option.field) != getattr(of(), option.field), option.name


# -- the result


def test_defaults() -> None:
    options = of()
    assert options.binds == ("127.0.0.1:8000",)
    assert (options.workers, options.backlog, options.control) == (1, 2048, "auto")
    assert options.worker_class == ("uvloop" if find_spec("uvloop") else "asyncio")
    assert options.hypercorn == {}
    assert options.config_object is None
    assert options.warnings == ()
    assert set(options.sources.values()) == {"default"}
    assert not options.tls


def test_frozen_and_read_only() -> None:
    options = of(ciphers="X", certfile="a", keyfile="b")
    with pytest.raises(FrozenInstanceError):
        options.workers = 3  # type: ignore[misc]
    for mapping in (options.hypercorn, options.sources):
        with pytest.raises(TypeError):
            mapping["x"] = 1  # type: ignore[index]
    assert hash(options) == hash(of(ciphers="X", certfile="a", keyfile="b"))
    assert options == of(f"{TLS}".replace("c.pem", "a").replace("k.pem", "b"), ciphers="X")
    assert options.tls


def test_to_dict_is_json_and_secrets_stay_secret() -> None:
    options = of(f"{TLS} --keyfile-password hunter2 --verify-mode CERT_REQUIRED -b :80 -b [::]:80")
    plain = json.loads(json.dumps(options.to_dict()))
    assert plain["binds"] == ["0.0.0.0:80", "[::]:80"]
    assert plain["keyfile_password"] == "***"
    assert set(FIELDS) <= plain.keys()
    assert "hunter2" not in repr(options)
    assert repr(of("-w 2 --root-path /x --port 5")) == ("Options(binds=['127.0.0.1:5'], workers=2, root_path='/x')")
    other = of(f"{TLS} --keyfile-password hunter3 --verify-mode CERT_REQUIRED -b :80 -b [::]:80")
    assert options.describe_changes(other) == ["keyfile_password: changed"]
    assert "hunter2" not in refused(["--keyfile-password", "hunter2\0"])
    assert "hunter2" not in refused("--keyfile-password hunter2", keyfile_password="x")


def test_changes_are_told_in_words() -> None:
    before = of("-w 2 --max-rss 512M")
    after = of("-w 4 -b :1 --drain-timeout 90 --access-logfile - --root-path /x")
    assert before.describe_changes(before) == []
    assert set(before.describe_changes(after)) == {
        "workers: 2 -> 4",
        "bind: 127.0.0.1:8000 -> 0.0.0.0:1",
        "drain_timeout: 30s -> 1m30s",
        "access_log: none -> -",
        "max_rss: 512M -> none",
        "root_path:  -> /x",
    }


def test_a_logger_object_as_a_log() -> None:
    logger = logging.getLogger("test.access")
    options = of(access_log=logger)
    assert options.access_log is None
    assert options.hypercorn_config().accesslog is logger
    assert of().describe_changes(options) == ["access_log: none -> test.access"]


# -- precedence


def test_precedence_from_the_bottom_up(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("workers = 3\n")
    layers: dict[str, Any] = {"environ": {}}
    seen = []
    for name, value in (
        ("constructor", {"workers": 2}),
        ("config", str(path)),
        ("environ", {"AEROS_WORKERS": "4"}),
        ("keywords", {"workers": 5}),
    ):
        layers[name] = value
        options = resolve(**layers)
        seen.append((options.workers, options.sources["workers"]))
    assert seen == [
        (2, "constructor"),
        (3, f"file {path}"),
        (4, "environment AEROS_WORKERS"),
        (5, "keyword"),
    ]
    assert resolve("-w 6", environ={"AEROS_WORKERS": "4"}).sources["workers"] == "argument"


def test_web_concurrency_is_for_workers_alone_and_last() -> None:
    assert resolve(environ={"WEB_CONCURRENCY": "3"}).workers == 3
    assert resolve(environ={"WEB_CONCURRENCY": "3", "AEROS_WORKERS": "2"}).workers == 2
    assert resolve(constructor={"workers": 5}, environ={"WEB_CONCURRENCY": "3"}).workers == 3
    assert resolve("-w 2", environ={"WEB_CONCURRENCY": "junk"}).workers == 2
    assert refused(environ={"WEB_CONCURRENCY": "junk"}).startswith("WEB_CONCURRENCY must be")


def test_a_hosting_service_names_the_port() -> None:
    assert resolve(environ={"PORT": "9000"}).binds == ("0.0.0.0:9000",)
    for more in ({"AEROS_PORT": "9001"}, {"AEROS_BIND": "127.0.0.1:9001"}, {"AEROS_HOST": "127.0.0.1"}):
        assert "9000" not in resolve(environ={"PORT": "9000", **more}).binds[0]
    assert resolve("-b 127.0.0.1:9001", environ={"PORT": "junk"}).binds == ("127.0.0.1:9001",)
    assert refused(environ={"PORT": "junk"}).startswith("PORT must be")


def test_the_config_may_be_named_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("workers = 3\n")
    for options in (
        resolve(["-c", str(path)], environ={}),
        resolve(environ={"AEROS_CONFIG": str(path)}),
        resolve(constructor={"config": str(path)}, environ={}),
        resolve(keywords={"config": path}, environ={}),
        resolve(["-c", str(path)], config=str(path), environ={}),
    ):
        assert options.workers == 3
    with pytest.raises(OptionsError, match="contradict"):
        resolve("-c other.toml", config=str(path), environ={})


def test_empty_variables_are_not_set_and_unknown_ones_warn() -> None:
    options = resolve(environ={"AEROS_WORKERS": " ", "AEROS_WROKERS": "3", "AEROS_INTERNAL_FD": "3", "AEROSMITH": "x"})
    assert options.workers == 1
    assert options.warnings == ("AEROS_WROKERS is set, but is no option of Aeros; did you mean AEROS_WORKERS?",)


def test_variables_under_other_names_and_lists() -> None:
    options = resolve(environ={"AEROS_BIND": "127.0.0.1:1, [::1]:2 unix:/x", "AEROS_GRACEFUL_TIMEOUT": "5m"})
    assert options.binds == ("127.0.0.1:1", "[::1]:2", "unix:/x")
    assert options.drain_timeout_s == 300
    assert resolve(environ={"AEROS_RELOAD": "yes", "AEROS_PID": "x"}).use_reloader
    text = refused(environ={"AEROS_DRAIN_TIMEOUT": "1", "AEROS_GRACEFUL_TIMEOUT": "2"})
    assert "AEROS_DRAIN_TIMEOUT" in text
    assert "AEROS_GRACEFUL_TIMEOUT" in text


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEROS_WORKERS", "7")
    assert resolve().workers == 7


def test_the_same_option_twice() -> None:
    assert of("-w 2", workers=2).workers == 2
    assert of("-w 2 --workers 3").workers == 3
    assert "-w (2) and workers (3) contradict each other" in refused("-w 2", workers=3)
    assert "--access-log (a) and --access-logfile (b)" in refused("--access-log a --access-logfile b")
    assert of("--access-log a --access-logfile a").access_log == "a"
    assert "contradict" in refused(drain_timeout=3, graceful_timeout="4s")
    assert of(drain_timeout=60, graceful_timeout="1m").drain_timeout_s == 60
    assert "contradict" in refused("-b :1", bind=":2")


def test_deprecated_spellings_work_with_a_warning() -> None:
    options = of("--access-log - --error-log e")
    assert (options.access_log, options.error_log) == ("-", "e")
    assert options.warnings[0] == "--access-log is deprecated; write --access-logfile"


# -- addresses


@pytest.mark.parametrize(
    ("given_", "full"),
    [
        ("127.0.0.1:5000", "127.0.0.1:5000"),
        ("localhost", "localhost:8000"),
        (":80", "0.0.0.0:80"),
        ("[::1]:8000", "[::1]:8000"),
        ("[::1]", "[::1]:8000"),
        ("::1", "[::1]:8000"),
        ("::", "[::]:8000"),
        ("::1:9000", "[::1]:9000"),
        ("2001:db8::1", "[2001:db8::1]:8000"),
        ("[fe80::1%eth0]:1", "[fe80::1%eth0]:1"),
        ("unix:/tmp/a b.sock", "unix:/tmp/a b.sock"),
        ("unix:" + "x" * 107, "unix:" + "x" * 107),
        ("fd://3", "fd://3"),
        ("host_1.example.:0", "host_1.example.:0"),
    ],
)
def test_binds(given_: str, full: str) -> None:
    assert of(["-b", given_]).binds == (full,)
    assert of(bind=[given_]).binds == (full,)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("", "must not be empty"),
        (" ", "must not be empty"),
        ("localhost:http", "port from 0 to 65535"),
        ("localhost:", "port from 0 to 65535"),
        ("localhost:65536", "port from 0 to 65535"),
        ("localhost:-1", "port from 0 to 65535"),
        ("http://localhost:80", "without a scheme"),
        ("a:b:c", "must be an address"),
        ("[::zz]:80", "host name or an IP"),
        ("bad host:80", "host name or an IP"),
        ("a..b:80", "host name or an IP"),
        ("fd://a:b", "number of an inherited descriptor"),
        ("fd:3x", "number of an inherited descriptor"),
        ("fd://", "number of an inherited descriptor"),
        ("fd://-1", "number of an inherited descriptor"),
        ("unix:", "path after unix:"),
        ("unix:" + "x" * 108, "at most 107 bytes"),
        ("unix:" + "ü" * 54, "at most 107 bytes"),
        ("a\0b", "NUL"),
    ],
)
def test_bad_binds(bad: str, why: str) -> None:
    text = refused(["-b", bad])
    assert text.startswith("-b must")
    assert why in text


@pytest.mark.parametrize(
    ("layers", "binds"),
    [
        ({"constructor": {"host": "0.0.0.0", "port": 80}}, "0.0.0.0:80"),
        ({"constructor": {"host": "::1", "port": "80"}}, "[::1]:80"),
        ({"constructor": {"host": "0.0.0.0", "port": 80}, "arguments": "-b :5"}, "0.0.0.0:5"),
        ({"constructor": {"host": "0.0.0.0", "port": 80}, "arguments": "--port 9"}, "0.0.0.0:9"),
        ({"constructor": {"host": "0.0.0.0", "port": 80}, "environ": {"AEROS_HOST": "h"}}, "h:80"),
        ({"environ": {"AEROS_PORT": "9"}, "constructor": {"bind": "1.2.3.4:5"}}, "1.2.3.4:9"),
        ({"arguments": "--host h", "environ": {"AEROS_PORT": "9"}, "constructor": {"bind": "x:5"}}, "h:9"),
        ({"arguments": "--host h --port 1", "constructor": {"bind": ["a:1", "unix:/x"]}}, "h:1"),
        ({"environ": {"AEROS_BIND": "a:1"}, "constructor": {"host": "b", "port": 2}}, "a:1"),
        ({"keywords": {"port": 0}}, "127.0.0.1:0"),
    ],
)
def test_host_and_port(layers: dict[str, Any], binds: str) -> None:
    assert resolve(**{"environ": {}, **layers}).binds == (binds,)


def test_host_and_port_that_mean_nothing() -> None:
    assert "contradict" in refused("-b :1 --port 2")
    assert "contradict" in refused("-b :1", host="x")
    assert "contradict" in refused("--port 1", environ={"AEROS_BIND": "unix:/x"})
    assert "contradict" in refused("--port 1", environ={"AEROS_BIND": "a:1,b:2"})
    assert "give a Unix socket" in refused(host="unix:/x")
    assert "without a port" in refused(host="a:80")
    assert "from 0 to 65535" in refused(port=65536)
    for bad in ("", 5, None, "a b", "x" * 64):
        assert refused(host=bad).startswith("host must be")


def test_the_same_address_twice() -> None:
    assert "names 0.0.0.0:1 twice" in refused("-b :1 -b 0.0.0.0:1")
    assert "twice" in refused(f"{TLS} -b :1 --insecure-bind :1")
    assert of("-b localhost:0 -b localhost:0").binds == ("localhost:0",) * 2


# -- mistakes


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("--wrokers 2", "unknown option --wrokers: did you mean --workers?"),
        ("--work 2", "unknown option --work: did you mean --workers?"),
        ("--wrokers=2", "unknown option --wrokers: did you mean --workers?"),
        ("--zzzzzzzzz", "unknown option --zzzzzzzzz: `aeros run --help` lists all options"),
        ("-x", "unknown option -x"),
        ("-W 2", "unknown option -W: did you mean -w?"),
        ("--Workers 2", "did you mean --workers?"),
        ("-w", "-w needs a value"),
        ("--workers", "--workers needs a value"),
        ("-w -b", "-w needs a value"),
        ("-w two", "-w must be a whole number from 1 to 400, or auto, not 'two'"),
        ("-w -1", "-w must be a whole number from 1 to 400, or auto, not '-1'"),
        ("-w 2000", "-w must be"),
        ("-w=2.5", "-w must be"),
        ("-k trio", "-k cannot be trio: Quart apps run on asyncio"),
        ("-k gevent", "-k must be uvloop or asyncio, not 'gevent'"),
        ("module:app -w 2", "unexpected argument 'module:app': only options are taken here"),
        ("workers 2", "did you mean --workers?"),
        ("--reload=yes", "--reload takes no value"),
        ("-w 2 '", "cannot split arguments"),
        ("--help", "`aeros run --help`"),
        ("--backlog 0", "--backlog must be a whole number from 1 to 65535"),
        ("--drain-timeout -3", "--drain-timeout must be a duration"),
        ("--graceful-timeout soon", "--graceful-timeout must be a duration"),
        ("--boot-timeout 0", "--boot-timeout must be longer than 0"),
        ("--max-rss 512", "--max-rss must be at least 1M"),
        ("--max-requests -1", "--max-requests must be a whole number of at least 1"),
        ("--max-requests-jitter 5", "--max-requests-jitter needs --max-requests"),
        ("--reload-surge 0", "--reload-surge must be a whole number from 1"),
        ("--threads 0", "--threads must be"),
        ("--log-format xml", "--log-format must be text or json"),
        ("--log-level loud", "--log-level must be debug, info, warning, error, critical"),
        ("--access-logformat %(h", "--access-logformat must be a format"),
        ("--certfile c", "--certfile needs --keyfile"),
        ("--keyfile c", "--keyfile needs --certfile"),
        ("--quic-bind :443", "--quic-bind needs --certfile and --keyfile"),
        (f"{TLS} --quic-bind unix:/x", "cannot be a Unix socket"),
        ("--insecure-bind :80", "--insecure-bind needs --certfile and --keyfile; without TLS, use --bind"),
        ("--verify-mode SOME", "--verify-mode must be CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED"),
        ("--cert-reqs 3", "--cert-reqs must be CERT_NONE"),
        ("--verify-flags X", "--verify-flags must be of VERIFY_"),
        ("-m 777", "-m must be a umask from 0 to 0o777"),
        ("-m 0o1000", "-m must be a umask"),
        ("-u no-such-user-here", "-u must be the number or the name of a user"),
        ("-g -5", "-g must be a whole number"),
        ("--statsd-host localhost", "--statsd-host must be the host:port"),
        ("--statsd-host localhost:x", "--statsd-host must be the host:port"),
        ("--h2-max-inbound-frame-size 1", "must be at least 16K"),
        ("--control ''", "--control must not be empty"),
        ("-c ''", "-c must not be empty"),
        ("-c python:", "-c must name a module"),
        ("-c no.toml", "cannot read config file no.toml: No such file or directory"),
    ],
)
def test_mistakes_on_the_command_line(line: str, text: str) -> None:
    assert text in refused(line)


@pytest.mark.skipif(find_spec("aioquic") is not None, reason="aioquic is installed")
def test_quic_without_aioquic() -> None:
    assert "aioquic, which is not installed" in refused(f"{TLS} --quic-bind :443")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workers", True),
        ("workers", 2.5),
        ("workers", "2.5"),
        ("workers", None),
        ("workers", [2]),
        ("port", True),
        ("port", "http"),
        ("threads", "many"),
        ("drain_timeout", True),
        ("drain_timeout", None),
        ("drain_timeout", float("nan")),
        ("bind", 8000),
        ("bind", None),
        ("bind", [None]),
        ("bind", []),
        ("use_reloader", "maybe"),
        ("use_reloader", 1),
        ("log_level", 17),
        ("log_level", None),
        ("access_log", 5),
        ("pid_file", 5),
        ("logger_class", "x"),
        ("logconfig_dict", "x"),
        ("verify_mode", True),
        ("verify_mode", 3),
        ("verify_flags", "nonsense"),
        ("umask", True),
        ("user", 1.5),
        ("config", 5),
        ("control", None),
    ],
)
def test_keywords_of_a_wrong_kind(name: str, value: object) -> None:
    assert refused(**{name: value}).startswith(f"{name} must")


def test_keywords_as_text_and_as_nothing() -> None:
    options = of(workers="2", reload=True, log_level=logging.DEBUG, pid="x", bind="a:1", access_log=None)
    assert (options.workers, options.use_reloader, options.log_level) == (2, True, "DEBUG")
    assert (options.pid_file, options.binds, options.access_log) == ("x", ("a:1",), None)
    options = of(max_requests=None, max_lifetime=0, max_rss="off", read_timeout="none", worker_timeout="off")
    assert (options.max_requests, options.max_lifetime_s, options.max_rss_bytes) == (None, None, None)
    assert options.hypercorn["read_timeout"] is None
    assert options.worker_timeout_s == 0
    assert of("-w 0").workers == 1
    assert of("-m 0o22").hypercorn["umask"] == of("-m 18").hypercorn["umask"] == 0o22
    assert of("-u root -g 0").hypercorn["user"] == 0


def test_unknown_keywords_and_wrong_containers() -> None:
    assert refused(wrokers=2) == "unknown option wrokers: did you mean workers?"
    assert "given to the constructor" in _constructor_refused({"wrokers": 2})
    for bad in (5, b"-w 2", ["-w", 2], [None], {"-w": 2}, 2.5):
        assert "arguments must be text" in refused(bad)
    for bad in (5, "workers", ["workers"]):
        with pytest.raises(OptionsError, match="keywords must be a mapping"):
            resolve(None, bad, environ={})  # type: ignore[arg-type]
    with pytest.raises(OptionsError, match="unknown option 5"):
        resolve(None, {5: 5}, environ={})  # type: ignore[dict-item]


def _constructor_refused(values: Mapping[str, object]) -> str:
    with pytest.raises(OptionsError) as raised:
        resolve(constructor=values, environ={})
    return str(raised.value)


def test_no_arguments_are_no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    # Hypercorn reads sys.argv for an empty list.
    monkeypatch.setattr(sys, "argv", ["prog", "-w", "7"])
    for nothing in (None, "", "  ", [], ()):
        assert resolve(nothing, environ={}).workers == 1


def test_a_long_value_is_cut_in_the_message() -> None:
    assert len(refused(["-w", "x" * 10_000])) < 300


def test_options_without_effect_warn() -> None:
    options = of("--verify-mode CERT_REQUIRED --ca-certs ca.pem")
    assert options.warnings == (
        "--ca-certs has no effect without --certfile and --keyfile",
        "--verify-mode has no effect without --certfile and --keyfile",
    )
    assert of(f"{TLS} --verify-mode required").warnings == ()


# -- the parser for a CLI


def cli() -> argparse.ArgumentParser:
    options = argument_parser()
    top = type(options)(prog="aeros")
    run = top.add_subparsers(dest="command").add_parser("run", parents=[options])
    run.add_argument("application")
    return top


def test_a_cli_hands_its_options_on() -> None:
    line = "run m:app -w 2 -b :1 -b=:2 --reload --backlog=-1 -Dw3 --access-logfile -"
    namespace = cli().parse_args(line.split())
    assert namespace.application == "m:app"
    handed = arguments_of(namespace)
    assert handed == shlex.split("-w 2 -b :1 -b :2 --reload --backlog=-1 -D -w 3 --access-logfile -")
    assert "--backlog" in refused(handed)
    assert arguments_of(cli().parse_args(["run", "m:app"])) == []


def test_a_cli_gets_options_errors_only(capsys: pytest.CaptureFixture[str]) -> None:
    for line, text in (
        ("run m:app --wrokers 2", "did you mean --workers"),
        ("run m:app -w", "-w needs a value"),
        ("run", "required"),
        ("fly", "must be run, not 'fly'"),
    ):
        with pytest.raises(OptionsError, match=text):
            cli().parse_args(line.split())
    assert capsys.readouterr() == ("", "")


def test_help_lists_everything_in_groups() -> None:
    text = argument_parser().format_help()
    for group in GROUPS:
        assert f"{group}:" in text
    for option in OPTIONS:
        for flag in option.arguments:
            assert flag in text
        for flag in option.old_flags:
            assert f"{flag} " not in text
    assert "[30s]" in text


def test_the_reference_has_a_row_for_every_option() -> None:
    table = options_table()
    for option in OPTIONS:
        assert f"| `{option.name}` |" in table
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {7}


# -- properties

WORDS = st.one_of(
    st.sampled_from(sorted(BY_FLAG)),
    st.sampled_from(sorted(BY_FLAG)).map(lambda flag: flag + "=1"),
    st.sampled_from(["-", "--", "auto", "0", "1", "-1", "30s", "512M", "off", "none", "asyncio", ":80"]),
    st.sampled_from(["fd://3", "[::1]:1", "CERT_NONE", "json", "debug", "root", "%(h)s", "a=b", "@x", "-x1", "="]),
    st.text(max_size=8),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(WORDS, max_size=8))
def test_any_arguments_are_options_or_an_options_error(words: list[str]) -> None:
    try:
        options = resolve(words, environ={})
    except OptionsError as error:
        assert str(error)
        return
    assert isinstance(options, Options)
    options.hypercorn_config()
    assert options.describe_changes(options) == []
    json.dumps(options.to_dict())


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_options_or_an_options_error(text: str) -> None:
    try:
        resolve(text, environ={})
    except OptionsError:
        pass


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=10),
    st.binary(max_size=4),
    st.lists(st.text(max_size=5) | st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.just(object()),
)
NAMES = sorted(name for option in OPTIONS for name in option.names if option.name != "config")


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), VALUES, max_size=3))
def test_any_keywords_are_options_or_an_options_error(keywords: dict[str, object]) -> None:
    try:
        resolve(None, keywords, environ={}).hypercorn_config()
    except OptionsError:
        pass


# -- the import


def test_importing_and_resolving_needs_neither_hypercorn_nor_argparse() -> None:
    program = (
        "import sys; from aeros.options import resolve; resolve(None, {'workers': 2}, environ={}); "
        "print([m for m in ('hypercorn', 'argparse', 'ssl', 'asyncio', 'difflib') if m in sys.modules])"
    )
    root = Path(resolve.__code__.co_filename).parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"


def test_the_fields_are_those_of_the_design() -> None:
    names = {item.name for item in fields(Options)}
    assert {"binds", "drain_timeout_s", "max_rss_bytes", "hypercorn", "config_object", "sources"} <= names


# -- proxies in front


def test_peers_are_networks_unix_and_everybody() -> None:
    options = resolve(["--forwarded-allow", "10.0.0.0/8, 192.0.2.7,unix", "--forwarded-allow", "::1"], environ={})
    assert options.forwarded_allow == ("10.0.0.0/8", "192.0.2.7/32", "unix", "::1/128")
    assert resolve(None, {"proxy_protocol": ["*"]}, environ={}).proxy_protocol == ("*",)
    assert of().forwarded_allow == of().proxy_protocol == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("localhost", "must be addresses such as"),
        ("10.0.0.0/33", "must be addresses such as"),
        ("10.0.0.7/8", "write 10.0.0.0/8"),
    ],
)
def test_what_names_no_peers_is_refused(given: str, said: str) -> None:
    with pytest.raises(OptionsError, match=said):
        resolve(["--forwarded-allow", given], environ={})


WORDS = st.one_of(
    st.sampled_from(sorted(BY_FLAG)),
    st.builds("{}={}".format, st.sampled_from(sorted(BY_FLAG)), st.sampled_from(["2", "", "x", "-w"])),
    st.builds(
        "{}{}".format, st.sampled_from(["-w", "-D", "-b", "-k", "-Dw", "-DD"]), st.sampled_from(["4", "", "x:1"])
    ),
    st.sampled_from(["2", "-", "--", "-2", "app:app", "--work", "--nothing", "-x", "127.0.0.1:0", "uvloop", ""]),
)


@given(words=st.lists(WORDS, max_size=5))
@settings(max_examples=300, deadline=None)
def test_a_parser_of_fewer_options_reads_the_same(words: list[str]) -> None:
    """A start makes one of the options that its arguments can mean."""

    def outcome() -> object:
        try:
            layer, warnings = parse.from_arguments(words)
        except OptionsError as error:
            return str(error)
        return {name: given.value for name, given in layer.items()}, warnings

    few = outcome()
    with mock.patch.object(parse, "_parser_of", lambda words: argument_parser()):
        assert few == outcome()
