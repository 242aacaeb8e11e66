"""The page of all options, with a heading for each, made from their table."""

from aeros.options.spec import Option
from aeros.options.table import GROUPS, OPTIONS

_HEAD = """---
title: Options
description: Every option of Aeros with its argument, variable, key in a file, and default.
---
# Options

The key of an option is its name in a file, and its keyword in `start()` and `WebServer(…)`. Times are written `250ms`,
`30s`, `5m`, `1h30m` or as seconds. Sizes are written `512M` or as bytes.
"""


def page() -> str:
    parts = [_HEAD]
    for group in GROUPS:
        parts.append(f"## {group[0].upper()}{group[1:]}\n")
        parts += [_entry(option) for option in OPTIONS if option.group == group]
    return "\n".join(parts)


def _entry(option: Option) -> str:
    value = "" if option.kind == "switch" else f" {option.metavar}"
    arguments = ", ".join(f"`{flag}{value}`" for flag in option.arguments) or "Python and files only"
    default = option.default_text or option.show(option.default_value()) or "empty"
    rows = [
        ("Argument", arguments),
        ("Variable", f"`{option.variable}`"),
        ("Key", f"`{option.name}`"),
        ("Default", f"`{default}`"),
    ]
    title = max(option.arguments, key=len) if option.arguments else option.name
    lines = [f"### {title} {{ #{option.name.replace('_', '-')} }}", "", option.help, "", "| | |", "|---|---|"]
    lines += [
        f"| {name} | {text.replace('|', chr(92) + '|')} |"
        for name, text in rows
        if option.arguments or name != "Variable"
    ]
    return "\n".join([*lines, ""])
