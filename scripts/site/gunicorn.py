"""Write docs/migrate/gunicorn-options.md from gunicorn's own settings and gunicorn.toml beside this file.

Run it where gunicorn is installed: python -m scripts.site.gunicorn. It fails when gunicorn has a setting without a row.
"""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/migrate/gunicorn-options.md"
_HEAD = """---
title: Settings of gunicorn
description: Each setting of gunicorn {version} with its counterpart in Aeros (by scripts/site/gunicorn.py).
---
# Settings of gunicorn

"—" means: there is no such option. The last column says why, or what to do.
[Migrate from gunicorn](gunicorn.md) has the short way.
"""


def page() -> str:
    """Return the page; KeyError where a setting has no row."""
    import gunicorn
    from gunicorn import config

    rows = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    sections: dict[str, list[str]] = {}
    for setting in config.KNOWN_SETTINGS:
        ours, note = rows[setting.name]
        arguments = " ".join(f"`{each}`" for each in setting.cli or () if each.startswith("--")) or "file only"
        line = f"| `{setting.name}` | {arguments} | {ours or '—'} | {note} |"
        sections.setdefault(setting.section, []).append(line)
    parts = [_HEAD.format(version=gunicorn.__version__)]
    for title, lines in sections.items():
        parts += [
            f"## {title}\n",
            "| Setting | On the command line | Aeros | What changes |",
            "|---|---|---|---|",
            *lines,
            "",
        ]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
