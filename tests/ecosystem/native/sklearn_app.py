"""Scikit-learn uses OpenMP: GNU's keeps its threads from the first use on, and does not notice a fork."""

import numpy as np
from sklearn.cluster import KMeans

from aeros import WebServer

POINTS = np.random.default_rng(1).random((5000, 4))


def clusters() -> int:
    return len(set(KMeans(4, n_init=1).fit(POINTS).labels_.tolist()))


AT_IMPORT = clusters()
app = WebServer(__name__)


@app.route("/")
async def home() -> dict[str, object]:
    return {"right": clusters() == AT_IMPORT == 4}
