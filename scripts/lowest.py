"""Print pip constraints that hold each direct dependency of setup.cfg, extras included, at its lower bound.

What they depend on in turn stays free: its bounds are for their authors to keep. Where two bounds contradict each other
pip says so, and one of them is wrong.
"""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path

BOUND = re.compile(r"(?P<name>[A-Za-z0-9._-]+)\s*>=\s*(?P<version>[^\s,;]+)")


def requirements(setup: configparser.ConfigParser) -> list[str]:
    texts = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    return [line.strip() for text in texts for line in text.splitlines() if line.strip()]


def constraints(lines: list[str]) -> dict[str, str]:
    """name → version. Raises ValueError where two extras ask for different bounds of the same package."""
    found: dict[str, str] = {}
    for line in lines:
        match = BOUND.match(line)
        if match is None:
            continue  # stubs for the type checker, in the version of the day
        name, version = match["name"].lower(), match["version"]
        if found.setdefault(name, version) != version:
            raise ValueError(f"setup.cfg gives {name} two lower bounds: {found[name]} and {version}")
    return found


def main() -> None:
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).resolve().parents[1] / "setup.cfg")
    for name, version in sorted(constraints(requirements(setup)).items()):
        sys.stdout.write(f"{name}=={version}\n")


if __name__ == "__main__":
    main()
