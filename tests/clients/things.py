"""What clients do: each thing is some requests on one connection, and the answers that a good server gives to them."""

from __future__ import annotations

from dataclasses import dataclass, field

MIB = 1 << 20


@dataclass(frozen=True)
class Request:
    """upload: bytes of body, or None. chunked: without a length."""

    path: str
    method: str = "GET"
    upload: int | None = None
    chunked: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    #: Follow a redirect.
    follow: bool = False


@dataclass(frozen=True)
class Answer:
    status: int
    #: The body where it is short, else its length.
    body: str | int


@dataclass(frozen=True)
class Thing:
    name: str
    requests: tuple[Request, ...]
    answers: tuple[Answer, ...]


def answer(status: int, body: bytes) -> Answer:
    return Answer(status, body.decode("latin1") if len(body) < 100 else len(body))


_NEXT, _NEXT_ANSWER = Request("/next"), Answer(200, "next")


def _thing(name: str, *pairs: tuple[Request, Answer]) -> Thing:
    """Behind each thing comes a GET on the same connection: whatever went wrong is its loss, at the latest."""
    requests, answers = zip(*pairs, strict=True)
    return Thing(name, (*requests, _NEXT), (*answers, _NEXT_ANSWER))


def post(path: str, upload: int, **more: object) -> Request:
    return Request(path, "POST", upload, **more)  # type: ignore[arg-type]


EXPECT = {"Expect": "100-continue"}
OVER = 9 * MIB  # above the app's MAX_CONTENT_LENGTH

THINGS = (
    _thing("GET", (_NEXT, _NEXT_ANSWER)),
    _thing("20 GETs in a row", *[(_NEXT, _NEXT_ANSWER)] * 20),
    _thing("HEAD", (Request("/large", "HEAD"), Answer(200, ""))),
    _thing("OPTIONS", (Request("/next", "OPTIONS"), Answer(200, ""))),
    _thing("a response of 1 MiB", (Request("/large"), Answer(200, MIB))),
    _thing("a streamed response", (Request("/stream"), Answer(200, 20000))),
    _thing("a response that takes its time", (Request("/slow"), Answer(200, "slow"))),
    _thing("204", (Request("/empty"), Answer(204, ""))),
    _thing("304", (Request("/same"), Answer(304, ""))),
    _thing("404", (Request("/nowhere"), Answer(404, 207))),
    _thing("405", (Request("/next", "DELETE"), Answer(405, 153))),
    _thing("500", (Request("/fails"), Answer(500, 265))),
    _thing("a redirect, followed", (Request("/away", follow=True), _NEXT_ANSWER)),
    _thing("server-sent events", (Request("/events"), Answer(200, "".join(f"data: {n}\n\n" for n in range(5))))),
    _thing("an upload of 10 bytes, read", (post("/read", 10), Answer(200, "10"))),
    _thing("an empty upload", (post("/read", 0), Answer(200, "0"))),
    _thing("an upload of 1 MiB, read", (post("/read", MIB), Answer(200, str(MIB)))),
    _thing("a chunked upload of 1 MiB, read", (post("/read", MIB, chunked=True), Answer(200, str(MIB)))),
    _thing("an upload of 10 bytes, unread", (post("/unread", 10), Answer(200, "unread"))),
    _thing("an upload of 1 MiB, unread", (post("/unread", MIB), Answer(200, "unread"))),
    _thing("a chunked upload of 1 MiB, unread", (post("/unread", MIB, chunked=True), Answer(200, "unread"))),
    _thing("an upload of 7 MiB, unread", (post("/unread", 7 * MIB), Answer(200, "unread"))),
    _thing("an upload of 1 MiB, half read", (post("/half", MIB), Answer(200, "some"))),
    _thing("an upload of 1 MiB to a 403", (post("/refused", MIB), Answer(403, "refused"))),
    _thing("an upload of 1 MiB to a 404", (post("/nowhere", MIB), Answer(404, 207))),
    _thing("a chunked upload to a 404", (post("/nowhere", MIB, chunked=True), Answer(404, 207))),
    _thing("an upload of 1 MiB to a 405", (post("/next", MIB), Answer(405, 153))),
    _thing("an upload above the limit, 413", (post("/read", OVER), Answer(413, 196))),
    _thing("Expect, read", (post("/read", MIB, headers=EXPECT), Answer(200, str(MIB)))),
    _thing("Expect, unread", (post("/unread", MIB, headers=EXPECT), Answer(200, "unread"))),
    _thing("Expect, to a 404", (post("/nowhere", MIB, headers=EXPECT), Answer(404, 207))),
    _thing("Expect, above the limit", (post("/read", OVER, headers=EXPECT), Answer(413, 196))),
    _thing(
        "uploads that are read and unread in turn",
        *[(post(path, 100_000), Answer(200, body)) for path, body in (("/unread", "unread"), ("/read", "100000"))] * 3,
    ),
)

MIXED = tuple(
    thing
    for thing in THINGS
    if thing.name
    in (
        "GET", "HEAD", "204", "304", "404", "500", "a streamed response", "an upload of 10 bytes, read",
        "an upload of 10 bytes, unread", "an upload of 1 MiB, unread", "an upload of 1 MiB to a 404",
    )
)  # fmt: skip
"""What the rows with many requests do again and again on connections that are kept."""
