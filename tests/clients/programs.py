"""Clients that are programs: curl, wget, nghttp, and Node with http, fetch (undici) and http2."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path

from .things import Answer, Request, answer

Address = tuple[str, int]
_NODE = Path(__file__).with_name("node.js")
_TIME_S = 60


class ClientFailedError(Exception):
    """A client says that something went wrong; the text is its own."""


def _run(argv: list[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, input=stdin, capture_output=True, timeout=_TIME_S, check=False)


def curl(address: Address, requests: list[Request]) -> list[Answer]:
    return _curl(f"http://{address[0]}:{address[1]}", requests, [])


def curl_h2(address: Address, requests: list[Request]) -> list[Answer]:
    return _curl(f"https://{address[0]}:{address[1]}", requests, ["--insecure", "--http2"])


def _curl(base: str, requests: list[Request], options: list[str]) -> list[Answer]:
    """One run for all, so that the connection is kept."""
    with tempfile.TemporaryDirectory() as folder:
        argv = ["curl"]
        for number, request in enumerate(requests):
            argv += ["--next"] if number else []
            argv += ["--silent", "--show-error", "--max-time", "20", *options, "--output", f"{folder}/{number}"]
            argv += ["--write-out", "%{http_code}\n", *_curl_request(request, Path(folder, f"up{number}"))]
            argv.append(base + request.path)
        done = _run(argv)
        if done.returncode:
            raise ClientFailedError(f"exit code {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
        bodies = [Path(folder, str(number)) for number in range(len(requests))]
        found = [body.read_bytes() if body.exists() else b"" for body in bodies]
        # What curl writes of a HEAD is the head.
        found = [b"" if request.method == "HEAD" else body for request, body in zip(requests, found, strict=True)]
        return [answer(int(status), body) for status, body in zip(done.stdout.split(), found, strict=True)]


def _curl_request(request: Request, file: Path) -> list[str]:
    argv = ["--location"] if request.follow else []
    if request.method == "HEAD":
        return [*argv, "--head"]
    if request.upload is None:
        return [*argv, "--request", request.method] if request.method != "GET" else argv
    file.write_bytes(bytes(request.upload))
    # Without the header curl would wait for 100 with every body above 1 MiB.
    argv += ["--header", "Expect: 100-continue" if "Expect" in request.headers else "Expect:"]
    argv += ["--data-binary", f"@{file}"]
    return [*argv, "--header", "Transfer-Encoding: chunked"] if request.chunked else argv


def wget(address: Address, requests: list[Request]) -> list[Answer]:
    """GETs of one run; with one POST the connection of a run ends, so that goes alone."""
    if any(request.method != "GET" or (not request.follow and request.path == "/away") for request in requests):
        raise NotImplementedError
    base = f"http://{address[0]}:{address[1]}"
    with tempfile.TemporaryDirectory() as folder:
        argv = ["wget", "--tries=1", "--timeout=20", "--server-response", "--content-on-error"]
        argv.append(f"--directory-prefix={folder}")
        done = _run([*argv, *(base + request.path for request in requests)])
        told = [int(status) for status in re.findall(rb"^  HTTP/1\.[01] (\d+)", done.stderr, re.MULTILINE)]
        statuses = [status for status in told if status not in (301, 302)]
        found, seen = [], {}
        for request, status in zip(requests, statuses, strict=True):
            name = request.path[1:]
            seen[name] = seen.get(name, -1) + 1
            file = Path(folder, name + (f".{seen[name]}" if seen[name] else ""))
            found.append(answer(status, file.read_bytes() if file.exists() else b""))
        return found


def nghttp(address: Address, requests: list[Request]) -> list[Answer]:
    """GETs over one connection of HTTP/2, all at once; POSTs of one body."""
    if any(request.method != "GET" or request.follow for request in requests):
        raise NotImplementedError
    urls = [f"https://{address[0]}:{address[1]}{request.path}" for request in requests]
    done = _run(["nghttp", "--no-verify-peer", "--null-out", "--stat", "--timeout=20", *dict.fromkeys(urls)])
    told = {path.decode(): int(status) for status, path in re.findall(rb"\s(\d{3})\s+\S+\s+(/\S*)$", done.stdout, re.M)}
    if done.returncode or len(told) != len(set(urls)):
        raise ClientFailedError(done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}")
    return [Answer(told[request.path], "") for request in requests]


def node_http(address: Address, requests: list[Request]) -> list[Answer]:
    return _node("http", address, requests)


def node_fetch(address: Address, requests: list[Request]) -> list[Answer]:
    if any("Expect" in request.headers for request in requests):
        raise NotImplementedError
    return _node("fetch", address, requests)


def node_http2(address: Address, requests: list[Request]) -> list[Answer]:
    return _node("http2", address, requests)


def _node(kind: str, address: Address, requests: list[Request]) -> list[Answer]:
    asked = [vars(request) for request in requests]
    done = _run(["node", str(_NODE), kind, address[0], str(address[1])], json.dumps(asked).encode())
    if done.returncode:
        raise ClientFailedError(done.stderr.decode(errors="replace").strip()[-300:])
    return [Answer(status, body) for status, body in json.loads(done.stdout)]
