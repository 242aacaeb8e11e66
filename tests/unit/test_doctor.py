"""aeros doctor: each finding, on machines that are well and on machines that are not."""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from aeros.cli import doctor
from aeros.cli.command_line import main
from aeros.cli.doctor import Finding
from aeros.core.process import signalling as process
from aeros.errors import NotAServerError
from aeros.options import Options, usable_cpus
from aeros.options import resolve as resolve_from
from aeros.quart import versions as compat
from aeros.status.latency import LatencyHistogram
from aeros.status.records import LastExit, Reloaded, ServerStatus, SlotStatus, Totals
from tests.helpers.authority import Authority

MIB = 1 << 20


def resolve(arguments: str | list[str]) -> Options:
    return resolve_from(arguments, environ={})


def only(found: Iterable[Finding]) -> Finding:
    (finding,) = found
    return finding


@pytest.mark.parametrize(
    ("arguments", "limits", "level", "words"),
    [
        ("", (65536, 65536), "ok", "may open 65536 files"),
        ("", (resource.RLIM_INFINITY, resource.RLIM_INFINITY), "ok", "any number of files"),
        ("", (1024, 524288), "warning", "LimitNOFILE=65536"),
        ("", (1024, 2048), "warning", "LimitNOFILE=2048"),
        ("--max-connections 900", (1024, 4096), "ok", "1024"),
        ("--max-connections 1000", (1024, 4096), "problem", "ulimit -n 1064"),
        ("--max-connections 5000", (1024, 4096), "problem", "beyond what an ordinary user may set"),
    ],
)
def test_open_files_against_connections(arguments: str, limits: tuple[int, int], level: str, words: str) -> None:
    finding = only(doctor.open_files(resolve(arguments), limits))
    assert finding.level == level
    assert words in finding.text


def a_proc(folder: Path, **values: int) -> Path:
    for name, value in values.items():
        path = folder / "sys/net" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return folder


def test_a_backlog_the_kernel_cuts(tmp_path: Path) -> None:
    proc = a_proc(tmp_path, core__somaxconn=128, ipv4__tcp_max_syn_backlog=256, ipv4__tcp_syncookies=0)
    granted, half_open = doctor.backlog(resolve("--backlog 512"), proc)
    assert granted.level == half_open.level == "warning"
    assert "net.core.somaxconn=512, or --backlog 128" in granted.text
    assert "net.ipv4.tcp_max_syn_backlog=512" in half_open.text


def test_a_backlog_the_kernel_grants(tmp_path: Path) -> None:
    proc = a_proc(tmp_path, core__somaxconn=4096, ipv4__tcp_max_syn_backlog=256, ipv4__tcp_syncookies=1)
    assert [finding.level for finding in doctor.backlog(resolve("--backlog 4096"), proc)] == ["ok", "ok"]
    assert only(doctor.backlog(resolve(""), tmp_path / "none")).level == "ok"


@pytest.mark.parametrize(
    ("arguments", "available", "level"),
    [
        ("-w 4", 8 * 64 * MIB, "ok"),
        ("-w 4", 8 * 64 * MIB - 1, "warning"),
        ("-w 4 --reload-surge 1", 5 * 64 * MIB, "ok"),
        ("-w 4", 4 * 16 * MIB - 1, "problem"),
        ("-w 4 --max-rss 300M", 2400 * MIB, "ok"),
        ("-w 4 --max-rss 300M", 2000 * MIB, "warning"),
    ],
)
def test_memory_against_workers(arguments: str, available: int, level: str) -> None:
    assert only(doctor.memory(resolve(arguments), available)).level == level


def test_available_memory_is_that_of_this_machine() -> None:
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert MIB < doctor._available_memory() < total


def test_cpus_against_workers() -> None:
    usable = usable_cpus().count
    assert only(doctor.cpus(resolve(workers_of(usable)))).level == "ok"
    assert only(doctor.cpus(resolve(workers_of(2 * usable)))).level == "ok"
    assert only(doctor.cpus(resolve(workers_of(2 * usable + 1)))).level == "warning"


def workers_of(count: int) -> str:
    return f"-w {count}"


def test_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    options = resolve("")
    for check in (doctor.event_loop, doctor.parser, doctor.kernel):
        assert only(check(options)).level == "ok"
    assert only(doctor.quart(options)).level == ("ok" if compat.knows_quart() else "warning")
    monkeypatch.setitem(sys.modules, "httptools", None)
    assert only(doctor.parser(options)).level == "problem"
    assert only(doctor.parser(resolve("--http hypercorn"))).level == "ok"
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert only(doctor.event_loop(options)).level == "problem"
    assert only(doctor.event_loop(resolve("-k asyncio"))).level == "ok"


def test_a_quart_nobody_compared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "COMPARED_WITH", ("0.1.",))
    compat.quart_line.cache_clear()
    try:
        assert only(doctor.quart(resolve(""))).level == "warning"
    finally:
        compat.quart_line.cache_clear()


def test_a_kernel_without_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(process.os, "pidfd_open")
    assert only(doctor.kernel(resolve(""))).level == "warning"


def test_the_control_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    options, folder = resolve(""), tmp_path / "aeros"
    assert only(doctor.control(options)).level == "ok"
    assert not folder.exists(), "a check makes nothing"
    folder.mkdir(mode=0o700)
    assert only(doctor.control(options)).level == "ok"
    folder.chmod(0o755)
    finding = only(doctor.control(options))
    assert (finding.level, f"chmod 700 {folder}" in finding.text) == ("warning", True)
    folder.rmdir()
    folder.write_text("")
    assert "is not a directory" in only(doctor.control(options)).text
    folder.unlink()
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(doctor.os, "geteuid", lambda: folder.stat().st_uid + 1)
    finding = only(doctor.control(options))
    assert (finding.level, "belongs to user" in finding.text) == ("problem", True)


def test_a_control_path(tmp_path: Path) -> None:
    def level(path: str) -> str:
        return only(doctor.control(replace(resolve(""), control=path))).level

    assert level("off") == "ok"
    assert level(str(tmp_path / "a.sock")) == "ok"
    assert level(str(tmp_path / "missing" / "a.sock")) == "problem"
    assert level(str(tmp_path / ("a" * 107))) == "problem"


@pytest.mark.parametrize(
    ("days", "level", "words"),
    [(90.5, "ok", "90 more days"), (29.5, "warning", "29 more days"), (-1, "problem", "expired on")],
)
def test_how_long_a_certificate_lasts(tmp_path: Path, days: float, level: str, words: str) -> None:
    certificate, key, _ = Authority(tmp_path).issue("localhost", days=days)
    (tmp_path / "c.pem").write_bytes(certificate)
    (tmp_path / "k.pem").write_bytes(key)
    options = resolve(["--certfile", str(tmp_path / "c.pem"), "--keyfile", str(tmp_path / "k.pem")])
    finding = only(doctor.certificates(options))
    assert (finding.level, words in finding.text) == (level, True), finding.text
    later = only(doctor.certificates(options, time.time() + 200 * 86400))
    assert later.level == "problem"


def test_who_resumes_tls_sessions(tmp_path: Path) -> None:
    assert list(doctor.tls_sessions(resolve([]))) == []
    pair = Authority(tmp_path).pair("live", "localhost")
    options = resolve(["--certfile", str(pair[0]), "--keyfile", str(pair[1])])
    assert only(doctor.tls_sessions(options, shared=True)).level == "ok"
    assert only(doctor.tls_sessions(options, shared=False)).level == "warning"


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, two = authority.pair("one", "localhost"), authority.pair("two", "two.example.com")

    def texts(certificate: object, key: object, *more: str) -> list[str]:
        options = resolve(["--certfile", str(certificate), "--keyfile", str(key), *more])
        return [finding.text for finding in doctor.certificates(options) if finding.level == "problem"]

    assert texts(*one, "--sni", f"two.example.com={two[0]}:{two[1]}") == []
    assert "does not belong" in texts(one[0], two[1])[0]
    assert "does not belong" in texts(*one, "--sni", f"two.example.com={two[0]}:{one[1]}")[0]
    assert "cannot read" in texts(one[0], tmp_path / "none.key")[0]
    assert "no certificates in PEM form" in texts(*one, "--ca-certs", str(one[1]))[0]
    assert "none of the ciphers is known" in texts(*one, "--ciphers", "NONSENSE")[0]


def test_no_tls() -> None:
    assert only(doctor.certificates(resolve(""))).level == "ok"


def status(slot: str = "healthy", reload: Reloaded | None = None) -> ServerStatus:
    totals = Totals(0, {}, 0, 0, 0, 0, 0, 0, None, None, None, LatencyHistogram.of([], 0.0), {}, {})
    last = LastExit("SIGSEGV", "died", 0.0, 41, 1)
    slots = (SlotStatus(0, slot, 9, None, 0, 0, last),)
    return ServerStatus(40, 1, "ready", (), 0.0, 0.0, 1, 1, "", "", (), reload, totals, (), slots, None, None)


def test_a_server_and_its_troubles() -> None:
    assert only(doctor.server(status())).level == "ok"
    failed = only(doctor.server(status("failed")))
    assert (failed.level, "given up slot 0" in failed.text) == ("problem", True)
    refused = only(doctor.server(status(reload=Reloaded(False, 2, "rerun", 1.0, 0.0, "it does not import"))))
    assert (refused.level, "it does not import" in refused.text) == ("problem", True)
    assert len(list(doctor.server(status("failed", Reloaded(False, 2, "rerun", 1.0, 0.0))))) == 2


def test_how_workers_get_the_app_is_said_where_it_is_not_the_usual_way() -> None:
    by_itself = replace(status(), load="worker", threads=("libpool (3 threads)",))
    (said, well) = doctor.server(by_itself)
    assert (said.level, well.level) == ("ok", "ok")
    assert "each worker loads the app itself: libpool (3 threads) would hang in forked ones" in said.text
    hanging = only(doctor.server(replace(by_itself, load="fork")))
    assert (hanging.level, "may hang in libpool (3 threads)" in hanging.text) == ("problem", True)


def test_servers_that_do_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert only(doctor.servers(resolve(""))).level == "ok"
    (tmp_path / "aeros").mkdir()
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(str(tmp_path / "aeros" / f"{os.getpid()}.sock"))
        finding = only(doctor.servers(resolve("")))
    assert (finding.level, "does not answer" in finding.text) == ("warning", True)

    def refuses(_: object) -> ServerStatus:
        raise NotAServerError("no")

    assert only(doctor.servers(resolve(""), refuses)).level == "warning"


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert main(["doctor", "-w", "1", "--ca-certs", "ca.pem"]) == 0
    assert "--ca-certs has no effect" in capsys.readouterr().out
    assert main(["doctor", "--json", "--max-connections", "100000000"]) == 1
    levels = {found["check"]: found["level"] for found in json.loads(capsys.readouterr().out)}
    assert levels["open files"] == "problem"
    assert main(["doctor", "--wrokers", "2"]) == 2
    assert "--workers" in capsys.readouterr().err
