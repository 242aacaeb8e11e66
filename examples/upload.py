"""An upload that is written to disk as it arrives: the worker never holds more than a piece of it.

$ UPLOADS=/tmp/uploads python examples/upload.py
$ curl -T film.mp4 http://127.0.0.1:8000/film.mp4
"""

import asyncio
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from quart import abort, request

from aeros import WebServer

FOLDER = Path(os.environ.get("UPLOADS", "uploads"))
app = WebServer(__name__, workers=2, max_body_size="1GB")
app.config["MAX_CONTENT_LENGTH"] = None  # Aeros's limit is the one that counts


@contextmanager
def arriving(name: str) -> Iterator[IO[bytes]]:
    """A file that gets its name when all of it is there, and is gone if the client leaves before."""
    FOLDER.mkdir(exist_ok=True)
    with NamedTemporaryFile(dir=FOLDER, prefix=".", delete=False) as file:
        try:
            yield file
        except BaseException:
            Path(file.name).unlink()
            raise
    Path(file.name).rename(FOLDER / name)


@app.put("/<name>")
async def upload(name: str) -> tuple[dict[str, str | int], int]:
    if name.startswith("."):
        abort(400)
    digest, length = hashlib.sha256(), 0
    with arriving(name) as file:
        async for piece in request.body:
            digest.update(piece)
            length += len(piece)
            await asyncio.to_thread(file.write, piece)  # a slow disk does not block the event loop
    return {"length": length, "sha256": digest.hexdigest()}, 201


if __name__ == "__main__":
    app.start()
