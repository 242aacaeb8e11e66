"""Clients that are libraries of Python. Each asks some requests on one connection that it keeps."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

from .things import Answer, Request, answer

Address = tuple[str, int]
_PIECE = 65536


def _pieces(size: int) -> Iterator[bytes]:
    while size > 0:
        yield bytes(min(size, _PIECE))
        size -= _PIECE


async def _pieces_later(size: int) -> AsyncIterator[bytes]:
    for piece in _pieces(size):
        yield piece


def _body(request: Request) -> Any:
    if request.upload is None:
        return None
    return _pieces(request.upload) if request.chunked else bytes(request.upload)


def http_client(address: Address, requests: list[Request]) -> list[Answer]:
    client = http.client.HTTPConnection(*address, timeout=20)
    try:
        found = []
        for request in requests:
            target = request.path
            while target:
                client.request(
                    request.method, target, _body(request), dict(request.headers), encode_chunked=request.chunked
                )
                response = client.getresponse()
                body = response.read()
                location = response.headers.get("Location") if request.follow else None
                target = location or ""
            found.append(answer(response.status, body))
        return found
    finally:
        client.close()


def requests_(address: Address, requests: list[Request]) -> list[Answer]:
    import requests as library

    with library.Session() as session:
        found = []
        for request in requests:
            response = session.request(
                request.method, f"http://{address[0]}:{address[1]}{request.path}", data=_body(request),
                headers=request.headers, timeout=20, allow_redirects=request.follow,
            )  # fmt: skip
            found.append(answer(response.status_code, response.content))
        return found


def urllib3_(address: Address, requests: list[Request]) -> list[Answer]:
    import urllib3

    with urllib3.HTTPConnectionPool(*address, maxsize=1, retries=False, timeout=20) as pool:
        found = []
        for request in requests:
            response = pool.urlopen(
                request.method, request.path, _body(request), request.headers,
                retries=urllib3.Retry(2) if request.follow else False,
                chunked=request.chunked, redirect=request.follow,
            )  # fmt: skip
            found.append(answer(response.status, response.data))
        return found


def httpx_(address: Address, requests: list[Request]) -> list[Answer]:
    return _httpx(f"http://{address[0]}:{address[1]}", requests, http2=False)


def httpx_h2(address: Address, requests: list[Request]) -> list[Answer]:
    return _httpx(f"https://{address[0]}:{address[1]}", requests, http2=True)


def _httpx(base: str, requests: list[Request], *, http2: bool) -> list[Answer]:
    import httpx

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with httpx.Client(http2=http2, verify=context, timeout=20) as client:
        found = []
        for request in requests:
            response = client.request(
                request.method, base + request.path, content=_body(request), headers=request.headers,
                follow_redirects=request.follow,
            )  # fmt: skip
            found.append(answer(response.status_code, response.content))
            assert not http2 or response.http_version == "HTTP/2", response.http_version
        return found


def aiohttp_(address: Address, requests: list[Request]) -> list[Answer]:
    import aiohttp

    async def ask() -> list[Answer]:
        connector = aiohttp.TCPConnector(limit=1)
        timeout = aiohttp.ClientTimeout(20)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            found = []
            for request in requests:
                body = _pieces_later(request.upload or 0) if request.chunked else _body(request)
                headers = {name: value for name, value in request.headers.items() if name != "Expect"}
                async with session.request(
                    request.method, f"http://{address[0]}:{address[1]}{request.path}", data=body, headers=headers,
                    allow_redirects=request.follow, expect100="Expect" in request.headers,
                ) as response:  # fmt: skip
                    found.append(answer(response.status, await response.read()))
            return found

    return asyncio.run(ask())


def websockets_(address: Address, messages: list[str | bytes]) -> list[str | bytes]:
    """Send each, read what comes back, and close."""
    from websockets.sync.client import connect

    with connect(f"ws://{address[0]}:{address[1]}/ws", close_timeout=5) as line:
        found = []
        for message in messages:
            line.send(message)
            found.append(line.recv(timeout=10))
    assert line.protocol.close_code == 1000, line.protocol.close_code
    return found
