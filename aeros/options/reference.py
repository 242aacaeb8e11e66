"""The options as a Markdown table, for the reference documentation."""

from __future__ import annotations

from .spec import Option
from .table import GROUPS, OPTIONS


def options_table() -> str:
    """Return Markdown: a heading and a table for each group of options."""
    parts = []
    for title in GROUPS:
        parts.append(f"### {title[0].upper()}{title[1:]}\n")
        parts.append("| Option | Arguments | Variable | Hypercorn | Default | Meaning |")
        parts.append("|---|---|---|---|---|---|")
        parts += [_row(option) for option in OPTIONS if option.group == title]
        parts.append("")
    return "\n".join(parts)


def _row(option: Option) -> str:
    value = "" if option.kind == "switch" else f" {option.metavar}"
    default = option.default_text or option.show(option.default_value())
    cells = (
        f"`{option.name}`",
        ", ".join(f"`{flag}{value}`" for flag in option.arguments) or "(Python and files only)",
        f"`{option.variable}`" if option.arguments else "",
        f"`{option.hypercorn}`" if option.hypercorn else "",
        f"`{default}`" if default and option.default_text is None else default,
        option.help,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
