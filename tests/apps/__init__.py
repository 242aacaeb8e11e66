"""Small apps the tests serve. Each holds the line `VERSION = "v1"`, which `source_of` swaps."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
_VERSION_LINE = 'VERSION = "v1"'
#: Put before a program, it says that it is being loaded and goes no further.
HANGING = "import pathlib, time\npathlib.Path('loading').touch()\ntime.sleep(600)\n"


def source_of(app: str, version: str = "v1") -> str:
    """The text of the named app with that version in it; a text of several lines is taken as it is."""
    if "\n" in app:
        return app
    text = (FOLDER / f"{app}.py").read_text()
    assert version == "v1" or _VERSION_LINE in text, f"{app} has no version line"
    return text.replace(_VERSION_LINE, f'VERSION = "{version}"')


def replace(path: Path, text: str) -> None:
    """Put new code in place as a deploy does: the old file until the new one is whole."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def deploy(path: Path, app: str = "full", version: str = "v1") -> None:
    replace(path, source_of(app, version))
