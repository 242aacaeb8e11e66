"""Options that look safer than they are: said at the start, or refused."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from aeros.errors import OptionsError, ReloadFailed
from aeros.options import resolve
from aeros.options.hosts import HostNames
from aeros.options.mistakes import mistaken
from tests.conftest import Serve
from tests.helpers import tls
from tests.helpers.conditions import eventually
from tests.helpers.http import Connection

CERTIFICATE = ("--certfile", "c.pem", "--keyfile", "k.pem")


# -- whose the sockets are, and whom the app runs as


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be told that it stays root")
@pytest.mark.parametrize("given", [("--user", "nobody"), ("-g", "65534"), ("--user", "65534", "--group", "65534")])
def test_user_without_a_unix_socket_does_not_give_root_up(serve: Serve, given: tuple[str, ...]) -> None:
    server = serve("full", "-w", "1", *given)
    assert server.wait_exit() == 2
    assert "the workers would run as root: use --run-as USER[:GROUP]" in server.log
    assert len(server.log.splitlines()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="as above")
def test_nor_does_it_in_a_file(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('user = "nobody"\n')
    server = serve("full", "-w", "1", "--config", "a.toml")
    assert server.wait_exit() == 2
    assert "--user would only say whose the file of a Unix socket is, and no --bind has one" in server.log


def test_it_may_be_said_of_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    me = str(os.geteuid())
    server = serve("full", "-w", "1", "-b", "unix:here.sock", "--user", me).ready(1)
    assert "would only say" not in server.log
    assert (tmp_path / "here.sock").stat().st_uid == os.geteuid()


# -- certificates of clients


def warnings_of(*arguments: str) -> list[str]:
    return mistaken(resolve([*CERTIFICATE, *arguments], environ={}))


def test_required_certificates_need_who_signs_them() -> None:
    for mode in ("CERT_REQUIRED", "CERT_OPTIONAL", "2"):
        with pytest.raises(OptionsError, match=r"verify.mode needs --ca-certs"):
            warnings_of("--verify-mode", mode)
    assert warnings_of("--verify-mode", "CERT_NONE") == []


def test_what_asks_nobody_is_said() -> None:
    (warning,) = warnings_of("--ca-certs", "ca.pem")
    assert "--ca-certs has no effect: no client is asked for a certificate" in warning
    asked = ("--ca-certs", "ca.pem", "--verify-mode", "CERT_REQUIRED")
    assert warnings_of(*asked) == []
    (warning,) = warnings_of(*asked, "--insecure-bind", "127.0.0.1:81")
    assert "127.0.0.1:81 serves the same app without TLS, and so asks nobody for a certificate" in warning


def test_they_are_in_the_log_or_end_the_start(serve: Serve, keys: Path) -> None:
    files = ("--certfile", "cert.pem", "--keyfile", "k.pem")
    refused = serve("full", *files, "--verify-mode", "CERT_REQUIRED")
    assert refused.wait_exit() == 2
    assert "--verify-mode needs --ca-certs" in refused.log
    asked = ("--ca-certs", "cert.pem", "--verify-mode", "CERT_REQUIRED", "--insecure-bind", "127.0.0.1:0")
    server = serve("full", "-w", "1", *files, *asked)
    server.expect("asks nobody for a certificate")
    server.wait_log(r"\[warning\] aeros: --insecure-bind 127.0.0.1:0 serves the same app without TLS")


def test_a_reload_is_looked_at_as_well(serve: Serve, keys: Path) -> None:
    plain = 'certfile = "cert.pem"\nkeyfile = "k.pem"\n'
    (keys / "a.toml").write_text(plain)
    server = serve("full", "-w", "1", "--config", "a.toml").ready(1)
    (keys / "a.toml").write_text(plain + 'verify_mode = "CERT_REQUIRED"\n')
    server.expect("reload refused", "--verify-mode needs --ca-certs")
    with pytest.raises(ReloadFailed, match="--verify-mode needs --ca-certs"):
        server.handle().reload(timeout=60)


# -- keys with a password


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    _, plain = tls.make_certificate(tmp_path)
    (tmp_path / "k.pem").write_bytes(plain.read_bytes())

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=30, cwd=tmp_path)

    openssl("pkcs8", "-topk8", "-in", "k.pem", "-out", "pkcs8.pem", "-passout", "pass:right-one")
    openssl("pkey", "-in", "k.pem", "-traditional", "-aes128", "-out", "old.pem", "-passout", "pass:right-one")
    (tmp_path / "junk.pem").write_text("nothing")
    return tmp_path


@pytest.mark.parametrize(
    ("key", "password", "sentence"),
    [
        ("pkcs8.pem", "", "the key is encrypted, and no password was given: set AEROS_KEYFILE_PASSWORD"),
        ("old.pem", "", "the key is encrypted, and no password was given"),
        ("pkcs8.pem", "wrong-one", "the key is encrypted with another password than the one given"),
        ("old.pem", "wrong-one", "the key is encrypted with another password than the one given"),
        ("junk.pem", "right-one", "junk.pem holds no private key in PEM form"),
        ("cert", "", "holds no private key in PEM form"),
    ],
)
def test_what_is_wrong_with_a_key_is_said(serve: Serve, keys: Path, key: str, password: str, sentence: str) -> None:
    certificate = keys / "cert.pem"
    path = certificate if key == "cert" else keys / key
    env = {"AEROS_KEYFILE_PASSWORD": password} if password else {}
    server = serve("full", "--certfile", str(certificate), "--keyfile", str(path), env=env)
    assert server.wait_exit() != 0
    assert sentence in server.log
    assert not password or password not in server.log
    assert len(server.log.splitlines()) == 1


# -- names of the server


@pytest.mark.parametrize(
    ("known", "host", "same"),
    [
        ("good.example", "GOOD.Example", True),
        ("Good.example", "good.example:8443", True),
        ("good.example", "good.example:", True),
        ("good.example", "good.example.", True),
        ("good.example:8443", "good.example:8443", True),
        ("good.example:8443", "good.example", False),
        ("good.example", "bad.example", False),
        ("good.example", "good.example:8443.evil", False),
        ("good.example", "good.example@evil", False),
        ("good.example", "x.good.example", False),
        ("good.example", "", False),
        ("[::1]", "[::1]:8000", True),
        ("::1", "::2", False),
    ],
)
def test_a_name_is_compared_as_a_host(known: str, host: str, same: bool) -> None:
    assert (host in HostNames([known])) is same


@pytest.mark.parametrize("http", ["lane", "hypercorn"])
def test_a_server_answers_to_its_names_however_they_are_written(serve: Serve, http: str) -> None:
    server = serve("full", "-w", "1", "--http", http, "--server-name", "good.example", "--server-name", "127.0.0.1")
    eventually(lambda: server.get().status in (200, 404), 20)
    for host, status in (("Good.Example:8443", 200), ("good.example", 200), ("evil.example", 404)):
        with Connection(server.address) as client:
            client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert client.read_answer().status == status
