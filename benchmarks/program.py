"""A program as people write them: pydantic, SQLAlchemy with asyncio, quart-schema, redis. For `scripts/bench program`.

python -m benchmarks.program -w 4 --bind 127.0.0.1:9000           # Aeros, the program calls start()
aeros run benchmarks.program:app -w 4 --bind 127.0.0.1:9000       # Aeros, from the command line
uvicorn --workers 4 benchmarks.program:app                        # a peer

PROGRAM_DATA_MB=100: it reads so much data at import, as programs do with tables of words or prices.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import Any

if __name__ == "__main__":
    from aeros import WebServer

import redis.asyncio as redis
from pydantic import BaseModel, Field
from quart import Quart, render_template_string
from quart_schema import QuartSchema, validate_querystring, validate_request, validate_response
from sqlalchemy import ForeignKey, String, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

app: Quart = WebServer(__name__) if __name__ == "__main__" else Quart(__name__)
QuartSchema(app)

#: Rows of text, as a file of that size gives them.
TABLE = [f"word number {number:09d}" for number in range(int(os.environ.get("PROGRAM_DATA_MB", "0")) * 1_000_000 // 76)]

engine = create_async_engine("sqlite+aiosqlite:///:memory:")
sessions = async_sessionmaker(engine, expire_on_commit=False)
#: A client connects when it is first asked; here only its making is measured.
cache = redis.Redis()


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    books: Mapped[list[Book]] = relationship(back_populates="author", lazy="selectin")


class Book(Base):
    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(100))
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"))
    author: Mapped[Author] = relationship(back_populates="books")


class Order(BaseModel):
    customer: str = Field(min_length=1, max_length=50)
    amount: int = Field(gt=0)
    placed: datetime | None = None


class Receipt(BaseModel):
    order: Order
    total: float
    lines: list[str]


class Search(BaseModel):
    text: str = "word"
    limit: int = 10


@app.before_serving
async def fill() -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with sessions() as session:
        session.add_all(
            Author(name=f"author {one}", books=[Book(title=f"book {two}") for two in range(5)]) for one in range(10)
        )
        await session.commit()


@app.get("/pid")
async def pid() -> str:
    return str(os.getpid())


@app.get("/text")
async def text() -> str:
    return "text"


@app.post("/orders")
@validate_request(Order)
@validate_response(Receipt)
async def order(data: Order) -> Receipt:
    return Receipt(order=data, total=data.amount * 1.19, lines=[f"line {number}" for number in range(data.amount % 7)])


@app.get("/authors")
async def authors() -> dict[str, Any]:
    async with AsyncSession(engine) as session:
        found = (await session.scalars(select(Author).order_by(Author.name).limit(5))).all()
        return {"authors": [{"name": author.name, "books": [book.title for book in author.books]} for author in found]}


@app.get("/search")
@validate_querystring(Search)
async def search(query_args: Search) -> dict[str, Any]:
    return {"found": [row for row in TABLE[:1000] if query_args.text in row][: query_args.limit]}


@app.get("/page")
async def page() -> str:
    return await render_template_string("<ul>{% for n in range(20) %}<li>{{ n }}</li>{% endfor %}</ul>")


if __name__ == "__main__":
    app.start(sys.argv[1:])
