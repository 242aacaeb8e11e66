"""nginx and HAProxy as their users run them: with the configurations in deploy/, other ports put in."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from .conditions import eventually
from .programs import program

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"

NGINX_FRAME = """
daemon off;
worker_processes 1;
{user}
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/aeros.conf;
}}
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def replaced(text: str, changes: dict[str, str]) -> str:
    """The text with each of these changed; each must be there, or the test would run something else than it says."""
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in the configuration"
        text = text.replace(old, new)
    return text


class Balancer:
    """One running program in front of `upstreams`; `address` is where clients connect."""

    def __init__(self, argv: list[str], folder: Path, port: int) -> None:
        self.address = ("127.0.0.1", port)
        self.folder = folder
        self.log_path = folder / "output"
        with self.log_path.open("wb") as log:
            self.popen = subprocess.Popen(
                argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        try:
            eventually(self._accepts, 15, f"{argv[0]} accepting")
        except BaseException:
            self.close()
            raise

    def _accepts(self) -> bool:
        if self.popen.poll() is not None:
            raise RuntimeError(f"it has ended: {self.log}")
        try:
            with socket.create_connection(self.address, 1):
                return True
        except OSError:
            return False

    @property
    def log(self) -> str:
        files = [self.log_path, self.folder / "error.log"]
        return "".join(path.read_text(errors="replace") for path in files if path.exists())

    def __enter__(self) -> Balancer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait(5)
        print(f"--- {self.popen.args}\n{self.log[-3000:]}")
        shutil.rmtree(self.folder, ignore_errors=True)


def nginx(first: str, second: str) -> Balancer:
    """nginx in front of two upstreams, "127.0.0.1:port" or "unix:/path"."""
    folder, port = Path(tempfile.mkdtemp(prefix="aeros-test-")), free_port()
    text = (DEPLOY / "nginx" / "aeros.conf").read_text()
    changes = {"server 127.0.0.1:8001": f"server {first}", "server 127.0.0.1:8002": f"server {second}"}
    changes["listen 80;"] = f"listen 127.0.0.1:{port};"
    (folder / "aeros.conf").write_text(replaced(text, changes))
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX_FRAME.format(folder=folder, user=user))
    return Balancer(
        [program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")],
        folder,
        port,
    )


def haproxy(
    first: str = "127.0.0.1:8001",
    second: str = "127.0.0.1:8002",
    config: str = "aeros.cfg",
    changes: dict[str, str] | None = None,
) -> Balancer:
    """HAProxy in front of two upstreams, "127.0.0.1:port" or "unix@/path"."""
    folder, port = Path(tempfile.mkdtemp(prefix="aeros-test-")), free_port()
    text = (DEPLOY / "haproxy" / config).read_text()
    wanted = {"first 127.0.0.1:8001": f"first {first}", "second 127.0.0.1:8002": f"second {second}"}
    wanted["bind 0.0.0.0:443" if "tls" in config else "bind 0.0.0.0:80"] = f"bind 127.0.0.1:{port}"
    (folder / "haproxy.cfg").write_text(replaced(text, wanted | (changes or {})))
    return Balancer([program("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")], folder, port)
