"""Polars has a pool of threads (rayon's) from its first query on, and does not notice a fork."""

import polars as pl

from aeros import WebServer

FRAME = pl.DataFrame({"key": [1, 2, 1, 2], "value": [1.0, 2.0, 3.0, 4.0]})


def totals() -> list[float]:
    found = FRAME.group_by("key").agg(pl.col("value").sum()).sort("key")
    return list(found["value"])


AT_IMPORT = totals()
app = WebServer(__name__)


@app.route("/")
async def home() -> dict[str, object]:
    return {"right": totals() == AT_IMPORT == [4.0, 6.0]}
