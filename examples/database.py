"""SQLAlchemy's async engine: one in each worker, opened after the fork, closed before the worker ends.

$ pip install "sqlalchemy[asyncio]" aiosqlite
$ DATABASE=sqlite+aiosqlite:///notes.db python examples/database.py
$ curl -d text=milk http://127.0.0.1:8000/notes
$ curl http://127.0.0.1:8000/notes
"""

import os
from collections.abc import AsyncGenerator

from quart import request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql import select

from aeros import WebServer

DATABASE = os.environ.get("DATABASE", "sqlite+aiosqlite:///notes.db")
app = WebServer(__name__, workers=2)


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


# Nothing connects here: a connection must not be shared by two processes. Each worker's pool makes its own.
engine = create_async_engine(DATABASE)
session: async_sessionmaker[AsyncSession] = async_sessionmaker(engine, expire_on_commit=False)


@app.while_serving
async def database() -> AsyncGenerator[None, None]:
    # "if not exists": all workers do it. A real app leaves this to its migrations, before the deploy.
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


@app.post("/notes")
async def add() -> tuple[dict[str, int], int]:
    note = Note(text=(await request.form)["text"])
    async with session.begin() as open_session:
        open_session.add(note)
    return {"id": note.id}, 201


@app.get("/notes")
async def notes() -> list[str]:
    async with session() as open_session:
        return list(await open_session.scalars(select(Note.text).order_by(Note.id)))


if __name__ == "__main__":
    app.start()
