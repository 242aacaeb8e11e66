"""The event loops a test runs a server on."""

from __future__ import annotations

import pytest

#: asyncio in the slow run alone: what the two do differently shows in tests/conformance, where both always run.
EVERY_LOOP = pytest.mark.parametrize("loop", ["uvloop", pytest.param("asyncio", marks=pytest.mark.slow)])
