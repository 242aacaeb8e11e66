"""What the app is told of some hundred request targets, by Aeros and by its peers, scope by scope: scripts/targets

Every difference is one that docs/http.md explains (WHY), or the script ends with 1 and shows it.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from typing import Any

from .servers import Running, running, shown_version

PATHS = (
    "/", "//", "/a", "/a/", "/a//b", "//a/b", "/./a", "/a/./b", "/a/../b", "/../a", "/a/..", "/a/.", "/.", "/..",
    "/%2e%2e/a", "/a%2fb", "/a%2Fb", "/a%3Fb", "/a%3fb%23c", "/a%23b", "/a%25b", "/a%2525b", "/a%20b", "/a+b", "/a%2Bb",
    "/a%00b", "/a%0d%0ab", "/a%7fb", "/%c3%a9", "/%C3%A9", "/%e9", "/%ff%fe", "/a%", "/a%2", "/a%zz", "/a;b=c",
    "/a;b=c/d", "/a,b", "/a:b", "/:a", "/a@b", "/a=b", "/a&b", "/a'b", "/a(b)", "/a*b", "/a!b", "/a$b", "/~a", "/a~b",
    "/a_b", "/a-b", "/a.b", "/a|b", "/a\\b", "/a^b", "/a`b", "/a{b}", "/a[b]", "/a\"b", "/a<b>", "/http://h/x",
    "/a%e2%82%acb", "/%F0%9F%98%80", "/%ed%a0%80", "/" + "x" * 3000, "/\xe9", "/\xc3\xa9", "/a\x7fb", "/a\tb", "/a b",
)  # fmt: skip
QUERIES = ("", "?", "?a", "?a=b", "?a=b&c", "?a?b", "?%2f", "?%zz", "?a+b", "?a#b", "?/../x", "?\xe9", "??", "?a=[]{}|")
HOSTS = (
    "h", "H.Example", "h:80", "h:8080", "h:", "[::1]", "[::1]:80", "user@h", "user:pw@h", "", "h h", "127.1", "h%41",
)  # fmt: skip
ODD = (
    "*", "*/", "a", "a/b", "?a", "#a", "/#a", "/a#", "/a#b?c", "/a?b#c#d", "http:/a", "http:a", "http://", "http:///a",
    "HTTP://h/a", "HtTp://h/a?b", "https://h/a", "ftp://h/a", "ws://h/a", "mailto:a@b", "h:80", "//h/a", "///a",
    "http://h#a", "http://h?a", "http://h/a#b", "http://h/%2e%2e/a", "http://h//a", "http://h\\a", ".", "..", "/a/%",
)  # fmt: skip

#: Why Aeros tells the app something else than one of the others. Each is a row of docs/http.md.
WHY = {
    "host": "a URL: the host is that of the URL, not of the Host header",
    "no-path": "a URL without a path: uvicorn refuses it",
    "authority": "a URL whose host is none: refused, or what is not clear is passed on as a Host header would be",
    "scheme": "a URL of another scheme: refused",
    "asterisk": "`*` with another method than OPTIONS: refused",
    "form": "neither path nor URL: refused",
    "not-ascii": "a byte above 127: refused",
    "granian": "a character that granian alone refuses",
}


def targets() -> Iterator[str]:
    """Return every target once."""
    found = dict.fromkeys(
        [
            *PATHS,
            *(path + query for path, query in product(("/", "/a", "/a%3Fb", "//"), QUERIES)),
            *(f"http://{host}{rest}" for host, rest in product(HOSTS, ("", "/", "/a?b", "/a%3Fb%23c"))),
            *(f"http://h{path}" for path in PATHS if len(path) < 100),
            *ODD,
        ]
    )
    yield from found


def ask(server: Running, target: str, method: str = "GET") -> dict[str, Any]:
    """Return the status, and what the app was told."""
    request = f"{method} {target} HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n".encode("latin1")
    answer = b""
    try:
        with socket.create_connection(server.address, 10) as sock:
            sock.sendall(request)
            while part := sock.recv(65536):
                answer += part
    except ConnectionResetError:
        pass
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/1.") else 0
    told = json.loads(body[body.find(b"{") : body.rfind(b"}") + 1]) if status == 200 else {}
    return {"status": status, **told}


def why(target: str, told: dict[str, dict[str, Any]]) -> str:
    """Return the key of WHY that the difference is explained by; "" for none."""
    ours, others = told["aeros"], [answer for name, answer in told.items() if name != "aeros"]
    if any(ord(character) > 127 for character in target):
        return "not-ascii"
    scheme, colon, rest = target.partition("://")
    if colon and scheme.isalpha():
        return _why_url(scheme, rest, ours, others)
    if not target.startswith("/"):
        return "" if ours["status"] != 400 else "asterisk" if target.startswith("*") else "form"
    same = [answer for answer in others if answer == ours]
    return "granian" if same and told.get("granian", ours)["status"] == 400 else ""


def _why_url(scheme: str, rest: str, ours: dict[str, Any], others: list[dict[str, Any]]) -> str:
    if scheme.lower() not in ("http", "https", "ws", "wss"):
        return "scheme" if ours["status"] == 400 else ""
    host = re.split("[/?#]", rest)[0]
    if ours["status"] == 400 or not re.fullmatch(r"([A-Za-z0-9.-]+|\[::1\])(:[0-9]+)?", host):
        return "authority"
    if ours["host"] != [host]:
        return ""
    if all({**answer, "host": []} == {**ours, "host": []} for answer in others if answer["status"] == 200):
        if all(answer["status"] == 200 for answer in others):
            return "host"
        if rest[len(host) :].startswith("/"):
            return "granian"
    return "no-path" if not rest[len(host) :].startswith("/") else ""


def compare(names: list[str]) -> dict[str, dict[str, Any]]:
    """Return for each target what each server told its app."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(running(name, "tests.clients.scope_app:app")) for name in names}
        return {target: {name: ask(server, target) for name, server in servers.items()} for target in targets()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/targets", description=__doc__)
    parser.add_argument("--servers", default="uvicorn,granian", help="beside Aeros")
    parser.add_argument("--all", action="store_true", help="show explained differences, too")
    given = parser.parse_args()
    names = ["aeros", *given.servers.split(",")]
    found = compare(names)
    print(f"{len(found)} targets, {', '.join(shown_version(name) for name in names)}")
    counts: Counter[str] = Counter()
    for target, told in found.items():
        if all(answer == told[names[0]] for answer in told.values()):
            counts["the same"] += 1
            continue
        key = why(target, told)
        counts[WHY.get(key, "not explained")] += 1
        if given.all or not key:
            print(f"\n{target[:80]!r}: {WHY.get(key, 'not explained')}")
            for name, answer in told.items():
                print(f"  {name:10} {shown(answer)}")
    for reason, count in counts.most_common():
        print(f"{count:5} {reason}")
    return 1 if counts["not explained"] else 0


def shown(answer: dict[str, Any]) -> str:
    if answer["status"] != 200:
        return str(answer["status"] or "closed without an answer")
    parts = (answer["path"], answer["raw_path"], answer["query_string"], answer["root_path"], *answer["host"])
    return " ".join(repr(part[:60]) for part in parts)


if __name__ == "__main__":
    raise SystemExit(main())
