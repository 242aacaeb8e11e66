"""pdb in a worker, at the terminal of the server."""

from __future__ import annotations

import pdb
from typing import Any

from .keys import Keys


class Prompt(pdb.Pdb):
    """pdb that has the terminal while it asks, and only then."""

    def __init__(self, keys: Keys) -> None:
        # Without its own handler of SIGINT, which would stay.
        super().__init__(nosigint=True)
        self._keys = keys

    def interaction(self, *arguments: Any, **keywords: Any) -> None:
        with self._keys.taken():
            super().interaction(*arguments, **keywords)
