"""Options: from arguments, keywords, environment, file and constructor to one frozen value.

    spec, table    what an option is; all of them, one row each
    units, values  converters: from what people write to one type
    cpus           what `-w auto` means
    given, parse, files   reading each source
    resolve        precedence and what must fit together -> model.Options

Imports nothing but the standard library: Hypercorn is imported by `Options.hypercorn_config()` and for
configuration files, argparse where there are arguments to parse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import OptionsError
from .cpus import CpuCount, usable_cpus
from .model import Options
from .resolve import resolve

if TYPE_CHECKING:
    import argparse

    from .parse import OptionsParser

__all__ = [
    "CpuCount",
    "Options",
    "OptionsError",
    "argument_parser",
    "arguments_of",
    "options_table",
    "resolve",
    "usable_cpus",
]


def argument_parser() -> OptionsParser:
    """Return an argparse parser of all options, for a CLI to use in `parents=[…]`; see parse.argument_parser.

    Its class, `type(argument_parser())`, suits the CLI's own parser: errors are OptionsError, no
    abbreviations.
    """
    from . import parse

    return parse.argument_parser()


def arguments_of(namespace: argparse.Namespace) -> list[str]:
    """Return the options found by such a parser as a list of arguments for `resolve` or `start`."""
    from . import parse

    return parse.arguments_of(namespace)


def options_table() -> str:
    """Return the options as Markdown tables, for the reference documentation."""
    from . import reference

    return reference.options_table()
