"""The long run of one target, or of all in turn; see scripts/fuzz."""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
import traceback

from .corpus import keep, kept, mutated, smaller
from .targets import BY_NAME, Target

#: What a run may gain in memory after its first thousand cases.
_GAIN_KIB = 48 * 1024


def _breaks(kind: type[Target], case: bytes) -> bool:
    try:
        with kind() as target:
            target.feed(case)
    except Exception:
        return True
    return False


def fuzz(kind: type[Target], seconds: float, seed: int) -> bool:
    """Return whether nothing gave way."""
    chance, until, cases, warm = random.Random(seed), time.monotonic() + seconds, 0, 0
    case = b""
    try:
        with kind() as target:
            seeds = [*target.seeds(), *kept(kind.name)]
            while time.monotonic() < until:
                case = mutated(chance, seeds, target.splices)
                target.feed(case)
                cases += 1
                if cases == 1000:
                    warm = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    except Exception:
        traceback.print_exc()
        if kind.name not in ("control-socket", "admin", "family"):
            case = smaller(case, lambda shorter: _breaks(kind, shorter))
        print(f"{kind.name}: case {cases} gave way; kept as {keep(kind.name, case)}: {case!r}")
        return False
    gained = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - warm if warm else 0
    print(f"{kind.name}: {cases} cases, nothing gave way, {gained} KiB gained after the first 1000", flush=True)
    return gained < _GAIN_KIB


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", choices=[*BY_NAME, "all"], default="all")
    parser.add_argument("--minutes", type=float, default=5.0, help="for each target")
    parser.add_argument("--seed", type=int, default=None)
    args = parser.parse_args()
    seed = random.randrange(1 << 32) if args.seed is None else args.seed
    print(f"seed {seed}", flush=True)
    kinds = list(BY_NAME.values()) if args.target == "all" else [BY_NAME[args.target]]
    outcomes = [fuzz(kind, args.minutes * 60, seed) for kind in kinds]
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
