"""Cases: those kept in tests/corpus, those a target makes itself, and mutations of both."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

CORPUS = Path(__file__).resolve().parents[1] / "corpus"


def kept(target: str) -> list[bytes]:
    """Return what once broke the target, or nearly; each is fed again by the tests."""
    return [path.read_bytes() for path in sorted((CORPUS / target).glob("*")) if path.is_file()]


def keep(target: str, case: bytes) -> Path:
    """Write a case into the corpus and return its path."""
    path = CORPUS / target / hashlib.sha256(case).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(case)
    return path


def mutated(chance: random.Random, seeds: list[bytes], splices: Sequence[bytes]) -> bytes:
    """Return one of the seeds, or several, with bytes put in, taken out, changed and repeated."""
    data = bytearray(chance.choice(seeds))
    while chance.random() < 0.3 and len(data) < 20000:
        data += chance.choice(seeds)
    for _ in range(chance.randrange(8)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(6)
        if kind == 0:
            data[at:at] = chance.choice(splices)
        elif kind == 1:
            data[at:at] = chance.randbytes(chance.randrange(1, 5))
        elif kind == 2:
            del data[at : at + chance.randrange(1, 9)]
        elif kind == 3 and at < len(data):
            data[at] = chance.randrange(256)
        elif kind == 4 and at < len(data):
            splice = chance.choice(splices)
            data[at : at + len(splice)] = splice
        else:
            data[at:at] = data[max(0, at - chance.randrange(1, 200)) : at]
    return bytes(data)


def cut(chance: random.Random, data: bytes) -> list[bytes]:
    """Return `data` in a few parts, as a network would deliver it."""
    edges = sorted({0, len(data), *(chance.randrange(len(data) + 1) for _ in range(chance.randrange(5)))})
    return [data[a:b] for a, b in pairwise(edges)]


def smaller(case: bytes, breaks: object) -> bytes:
    """Return a part of `case` that still breaks the target. breaks: called with a case, whether it does."""
    assert callable(breaks)
    step = max(1, len(case) // 2)
    while step:
        at = 0
        while at < len(case):
            shorter = case[:at] + case[at + step :]
            if breaks(shorter):
                case = shorter
            else:
                at += step
        step //= 2
    return case
