"""NumPy has threads, too, but its OpenBLAS notices a fork: workers are forked as ever."""

import numpy as np

from aeros import WebServer

SQUARE = np.random.default_rng(1).random((400, 400))


def inverse_is_right() -> bool:
    return bool(np.allclose(SQUARE @ np.linalg.inv(SQUARE), np.eye(400)))


AT_IMPORT = inverse_is_right()
app = WebServer(__name__)


@app.route("/")
async def home() -> dict[str, object]:
    return {"right": inverse_is_right() and AT_IMPORT}
