"""Hypercorn's own command line and Config against ours: every argument known, every meaning the same.

Differences made on purpose are listed here, by name and with their reason; anything else fails.
"""

from __future__ import annotations

import argparse
import types
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hypercorn.__main__
import pytest
from hypercorn.config import Config

from aeros.errors import OptionsError
from aeros.options import argument_parser, resolve
from aeros.options.files import hypercorn_options
from aeros.options.table import BY_FLAG, BY_HYPERCORN, OPTIONS

HELP = {"-h", "--help"}


class _Captured(Exception):  # it carries the parser out
    pass


def hypercorn_parser(monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    """Return the parser that the installed Hypercorn's main() makes."""
    captured: list[argparse.ArgumentParser] = []

    def capture(parser: argparse.ArgumentParser, *_: object) -> None:
        captured.append(parser)
        raise _Captured

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", capture)
        with pytest.raises(_Captured):
            hypercorn.__main__.main(["app"])
    return captured[0]


def built_by_hypercorn(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> Config:
    """Return the Config that `hypercorn ARGUMENTS app` would serve with."""
    captured: list[Config] = []

    def run(config: Config) -> int:
        captured.append(config)
        return 0

    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(hypercorn.__main__, "run", run)
        hypercorn.__main__.main([*arguments, "module:app"])
    return captured[0]


def attributes(config: Config) -> dict[str, Any]:
    """Return all that can be set on a Config and read back."""
    return {
        name: getattr(config, name)
        for name in dir(Config)
        if not name.startswith("_") and name not in ("log", "ssl_enabled", "cert_reqs")
        if not callable(getattr(Config, name)) or name == "logger_class"
    }


# -- the parser


def test_every_argument_of_hypercorn_is_known_with_its_arity(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = argument_parser()._option_string_actions
    for action in hypercorn_parser(monkeypatch)._actions:
        for flag in action.option_strings:
            if flag in HELP:
                continue
            assert flag in ours, f"Hypercorn has {flag}, unknown to Aeros: add it to options/table.py"
            mine, option = ours[flag], BY_FLAG[flag]
            assert mine.nargs == action.nargs, flag
            is_list = isinstance(action, argparse._AppendAction)
            assert is_list == (option.kind == "list"), flag
            # A synonym of Hypercorn's is a synonym here too.
            together = {BY_FLAG[other].name for other in action.option_strings}
            assert together == {option.name}, flag


def test_every_integer_of_hypercorn_is_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    for action in hypercorn_parser(monkeypatch)._actions:
        if action.type is int:
            option = BY_FLAG[action.option_strings[0]]
            assert option.convert("2") == 2, option.name


def test_every_attribute_of_hypercorns_config_is_in_the_table() -> None:
    assert hypercorn_options() == {}, "Hypercorn has attributes that Aeros only passes on: add rows for them"


def test_defaults_are_hypercorns_but_for_these() -> None:
    base = Config()
    ours = resolve(environ={}).hypercorn_config()
    differing = {name for name, value in attributes(ours).items() if value != getattr(base, name)}
    assert differing == {
        "access_log_format",  # with the duration
        "backlog",  # 2048: 100 overflows in one burst
        "graceful_timeout",  # 30 s: a proxy waits longer than 3
        "shutdown_timeout",  # 10 s
        "startup_timeout",  # 120 s
        "worker_class",  # uvloop where installed
    }
    for option in OPTIONS:
        if option.hypercorn not in (*differing, None, "logger_class"):
            default, there = option.default_value(), getattr(base, option.hypercorn)
            assert (list(default) if isinstance(default, tuple) else default) == there, option.name


# -- the meaning

LINES = [
    [],
    ["-w", "3"],
    ["-w3", "-Db", "127.0.0.1:5000"],
    ["--bind=127.0.0.1:5000", "-b", "0.0.0.0:5001"],
    ["-b", "unix:/tmp/a.sock", "-m", "63", "-u", "1", "-g", "2"],
    ["-b", "[::1]:8000", "-b", "fd://3"],
    ["-k", "asyncio"],
    ["-k", "uvloop", "-w", "2", "-w", "4"],
    ["--access-logfile", "-", "--access-logformat", "%(h)s %(D)s", "--error-logfile", "e.log"],
    ["--access-log", "a.log", "--error-log", "-"],
    ["--log-file", "e.log", "--log-level", "DEBUG", "--log-config", "json:x.json"],
    ["--backlog", "7", "--keep-alive", "11", "--graceful-timeout", "9", "--read-timeout", "4"],
    ["--certfile", "c.pem", "--keyfile", "k.pem", "--keyfile-password", "x", "--ca-certs", "ca.pem"],
    ["--certfile", "c.pem", "--keyfile", "k.pem", "--ciphers", "ECDHE", "--verify-mode", "CERT_REQUIRED"],
    ["--certfile", "c.pem", "--keyfile", "k.pem", "--cert-reqs", "1", "--insecure-bind", "127.0.0.1:80"],
    ["--root-path", "/api/", "--server-name", "a.example", "--server-name", "b.example"],
    ["--statsd-host", "127.0.0.1:8125", "--statsd-prefix", "web"],
    ["--websocket-ping-interval", "20", "--debug", "--reload", "-p", "x.pid"],
    ["--max-requests", "100"],
    ["-b", "localhost"],
    ["-b", "::1:9000"],
    ["--max-requests", "100", "--max-requests-jitter", "10"],
    ["-w", "0"],
    ["-m", "022"],
]

#: attribute -> why it need not be equal whatever the line says
ALWAYS = {
    "access_log_format": "the same, and the duration",
    "workers": "1: the fleet is ours, and more would set SO_REUSEPORT",
    "max_requests": "None: Aeros counts, and replaces before it stops",
    "max_requests_jitter": "as max_requests",
}

#: (line, attribute) -> ours
ON_PURPOSE: Mapping[tuple[str, str], object] = {
    ("-b localhost", "bind"): ["localhost:8000"],  # the same address in full
    ("-b ::1:9000", "bind"): ["[::1]:9000"],  # the same address in full
    ("-m 022", "umask"): 0o22,  # Hypercorn reads twenty-two
}


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_a_command_line_means_what_hypercorn_takes_it_for(line: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = attributes(built_by_hypercorn(monkeypatch, line))
    ours = attributes(resolve(line, environ={}).hypercorn_config())
    defaults = attributes(resolve(environ={}).hypercorn_config())
    plain = attributes(Config())
    for name, value in theirs.items():
        wanted = ON_PURPOSE.get((" ".join(line), name), value)
        # Where the line says nothing, our own default stands; see test_defaults_are_hypercorns_but_for_these.
        if name in ALWAYS or (value == plain[name] and ours[name] == defaults[name]):
            continue
        assert ours[name] == wanted, name


def test_what_hypercorn_gets_for_what_aeros_does_itself() -> None:
    config = resolve("-w 8 --max-requests 100 --max-requests-jitter 10", environ={}).hypercorn_config()
    assert (config.workers, config.max_requests, config.max_requests_jitter) == (1, None, 0)


def test_jitter_is_the_jitter_and_not_max_requests() -> None:
    options = resolve("--max-requests 100 --max-requests-jitter 10", environ={})
    assert (options.max_requests, options.max_requests_jitter) == (100, 10)


def test_statsd_prefix_of_a_file_survives_other_arguments(tmp_path: Path) -> None:
    # Hypercorn's --statsd-prefix defaults to "", which overwrites the file's.
    (tmp_path / "a.toml").write_text('statsd_prefix = "web"\n')
    assert resolve(["-c", str(tmp_path / "a.toml")], environ={}).hypercorn_config().statsd_prefix == "web"


# -- files and objects


@pytest.mark.parametrize("kind", ["toml", "file"])
def test_a_config_file_means_what_hypercorn_takes_it_for(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ("conf.toml" if kind == "toml" else "conf.py")
    path.write_text(
        'bind = ["127.0.0.1:5000"]\nkeep_alive_timeout = 7\nloglevel = "DEBUG"\naccesslog = "-"\n'
        'h2_max_concurrent_streams = 5\nroot_path = "/x/"\nalpn_protocols = ["http/1.1"]\n'
        "include_server_header = False\n".replace("False", "false" if kind == "toml" else "False")
    )
    line = ["-c", str(path) if kind == "toml" else f"file:{path}", "--backlog", "9"]
    theirs = attributes(built_by_hypercorn(monkeypatch, line))
    options = resolve(line, environ={})
    ours = attributes(options.hypercorn_config())
    unset = {"access_log_format", "graceful_timeout", "shutdown_timeout", "startup_timeout", "worker_class"}
    assert {name for name in theirs if theirs[name] != ours[name]} == unset
    assert options.config_object is None


def test_aeros_names_in_toml(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('drain_timeout = "1m30s"\nmax_rss = "512M"\nworkers = "auto"\nbind = "127.0.0.1:1"\n')
    options = resolve(config=str(path), environ={})
    assert (options.drain_timeout_s, options.max_rss_bytes, options.binds) == (
        90,
        512 << 20,
        ("127.0.0.1:1",),
    )
    assert options.sources["max_rss"] == f"file {path}"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("wrokers = 2", "unknown option wrokers in .*a.toml: did you mean workers"),
        ("workers = 2.5", "workers in .*a.toml must be a whole number"),
        ("workers = true", "workers in .*a.toml must be a whole number"),
        ("workers = \n", "not valid TOML: .*line 1"),
        ('\n\nbind = "x\n', "not valid TOML: .*line 3"),
        ("[server]\nworkers = 2", "unknown option server in .*a.toml"),
        ('config = "b.toml"', "unknown option config"),
        ("drain_timeout = 5\ngraceful_timeout = 6", "contradict"),
        ("bind = []", "at least one"),
        ("bind = [1]", "bind in .* must be text"),
        ("bind = 8000", "must be text or a list"),
    ],
)
def test_mistakes_in_toml(text: str, wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(OptionsError, match=wrong) as raised:
        resolve(["-c", str(path)], environ={})
    assert "\n" not in str(raised.value)


def test_unreadable_files(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for named in (
        tmp_path / "none.toml",
        tmp_path,
        binary,
        f"file:{tmp_path}/none.py",
        "python:no_such_module",
    ):
        with pytest.raises(OptionsError, match="config"):
            resolve(["-c", str(named)], environ={})
    script = tmp_path / "conf.py"
    script.write_text("def f(): pass\n")
    with pytest.raises(OptionsError, match=r"a Python file is named file:.*conf\.py"):
        resolve(["-c", str(script)], environ={})


@pytest.mark.parametrize("text", ["raise ValueError('no')", "import sys; sys.exit(3)", "def f(:", "1/0"])
def test_a_python_file_that_fails(text: str, tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text(text)
    with pytest.raises(OptionsError, match=r"cannot load config file:") as raised:
        resolve(["-c", f"file:{tmp_path}/conf.py"], environ={})
    assert raised.value.__cause__ is not None


def test_python_modules_and_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "aeros_conf_one.py").write_text(
        "import os\nfrom pathlib import Path\nfrom hypercorn.config import Config\n"
        "workers = 3\nhelper = 5\nlog = 'x'\ndef reload(): pass\n_wrokers = 9\n"
        "class Mine(Config):\n    backlog = 77\n"
        "mine = Mine()\nmine.keep_alive_timeout = 8\nmine.umask = None\n"
        "class Plain:\n    workers = 4\n"
        "table = {'workers': 5}\n"
    )
    module = "python:aeros_conf_one"
    assert resolve(["-c", module], environ={}).workers == 3
    assert resolve(["-c", f"{module}.Plain"], environ={}).workers == 4
    assert resolve(["-c", f"{module}.table"], environ={}).workers == 5
    # Hypercorn itself fails on an instance: it reads the write-only cert_reqs.
    options = resolve(["-c", f"{module}.mine"], environ={})
    assert (options.backlog, options.keep_alive_timeout_s, options.workers) == (77, 8, 1)
    assert type(options.hypercorn_config()).__name__ == "Mine"
    with pytest.raises(OptionsError, match="has no nothing"):
        resolve(["-c", f"{module}.nothing"], environ={})
    (tmp_path / "aeros_conf_two.py").write_text("import no_such_thing_at_all\n")
    with pytest.raises(OptionsError, match="no_such_thing_at_all"):
        resolve(["-c", "python:aeros_conf_two"], environ={})
    (tmp_path / "aeros_conf_three.py").write_text("wrokers = 4\n")
    with pytest.raises(OptionsError, match="did you mean workers"):
        resolve(["-c", "python:aeros_conf_three"], environ={})


def test_a_config_object_is_copied_with_its_class() -> None:
    class Mine(Config):
        websocket_max_message_size = 99

        def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
            return []

    mine = Mine()
    mine.bind = ["127.0.0.1:5000"]
    mine.workers = 4
    mine.worker_class = "asyncio"  # Hypercorn's default, and yet asked for
    mine.my_own_thing = "kept"  # type: ignore[attr-defined]
    before = dict(vars(mine))
    options = resolve("--backlog 9", config=mine, constructor={"workers": 9, "port": 1}, environ={})
    config = options.hypercorn_config()
    assert options.config_object is mine
    assert type(config) is Mine
    assert config is not mine
    assert (options.binds, options.workers, options.worker_class) == (("127.0.0.1:5000",), 4, "asyncio")
    assert (config.bind, config.backlog, config.workers) == (["127.0.0.1:5000"], 9, 1)
    assert config.websocket_max_message_size == 99
    assert config.my_own_thing == "kept"  # type: ignore[attr-defined]
    assert vars(mine) == before
    assert options.sources["workers"] == "Config object"
    assert options.hypercorn_config() is not config


def test_a_config_object_with_mistakes() -> None:
    config = Config()
    config.wrokers = 2  # type: ignore[attr-defined]
    with pytest.raises(OptionsError, match="did you mean workers"):
        resolve(config=config, environ={})
    config = Config()
    config.worker_class = "trio"
    with pytest.raises(OptionsError, match="trio"):
        resolve(config=config, environ={})
    for bad in (Config, object(), 5, types.SimpleNamespace(workers=2)):
        with pytest.raises(OptionsError, match="config"):
            resolve(config=bad, environ={})  # type: ignore[arg-type]


def test_a_config_class_that_refuses_a_value() -> None:
    class Fixed(Config):
        @property
        def backlog(self) -> int:  # type: ignore[override]
            return 5

    options = resolve(config=Fixed(), environ={})
    with pytest.raises(OptionsError, match="Fixed refuses backlog"):
        options.hypercorn_config()


def test_an_attribute_of_a_newer_hypercorn_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Config, "h9_max_streams", 3, raising=False)
    (tmp_path / "a.toml").write_text("h9_max_streams = 7\n")
    for options in (
        resolve(keywords={"h9_max_streams": 7}, environ={}),
        resolve(config=str(tmp_path / "a.toml"), environ={}),
    ):
        assert options.hypercorn["h9_max_streams"] == 7
        assert options.hypercorn_config().h9_max_streams == 7  # type: ignore[attr-defined]
    with pytest.raises(OptionsError, match="did you mean h9_max_streams"):
        resolve(keywords={"h9_max_stream": 7}, environ={})


def test_every_row_with_an_attribute_reaches_hypercorn() -> None:
    samples = {"worker_class": "asyncio", "loglevel": "DEBUG", "verify_mode": "CERT_NONE"}
    skipped = {"workers", "max_requests", "max_requests_jitter"}
    base = {"certfile": "a", "keyfile": "b"}
    for name, option in BY_HYPERCORN.items():
        if name in skipped or name in ("logger_class", "logconfig_dict", "verify_flags", "quic_bind"):
            continue
        for raw in (samples.get(name, True), True, 63, 20_000, "127.0.0.1:99", "b"):
            try:
                wanted = option.convert(raw)
            except ValueError:
                continue
            config = resolve(keywords={**base, option.name: raw}, environ={}).hypercorn_config()
            assert getattr(config, name) == (list(wanted) if isinstance(wanted, tuple) else wanted), name
            break
        else:
            pytest.fail(f"no sample for {name}")
