"""A FastAPI app, unchanged: nothing in it knows of Aeros.

$ pip install fastapi
$ cd examples && aeros run fastapi_app:app -w 2
$ curl http://127.0.0.1:8000/items/3?q=red
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.greeting = "hello"  # once in each worker: pools and clients belong here
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/items/{item}")
async def read(item: int, q: str = "") -> dict[str, int | str]:
    return {"item": item, "q": q, "greeting": app.state.greeting}
