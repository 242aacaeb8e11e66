"""The command line: an argparse parser made from the table, that raises instead of printing and exiting.

argparse and not a loop of our own, because Hypercorn's command line is argparse: `-w2`, `-Dw 2`,
`--workers=2` and a value that is `-` then mean the same here by construction.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence
from typing import Any, NoReturn

from ..errors import OptionsError
from .given import Layer, contradiction, convert, shorten, unknown
from .spec import Option, nearest
from .table import BY_FLAG, GROUPS, OPTIONS

#: Where the namespace keeps what was given: pairs of flag as spelled and text (None for a switch), in order.
_GIVEN = "given_options"


class OptionsParser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are OptionsError, and which takes no abbreviations.

    For the CLI to build on: `OptionsParser(parents=[argument_parser()])`. Only --help still prints and exits.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # An abbreviation that is unique today is ambiguous after the next option.
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("exit_on_error", False)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise OptionsError. argparse comes here for what has no argument to blame."""
        raise OptionsError(f"{self.prog}: {message}" if " " in self.prog else message)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as ArgumentParser does, with errors as OptionsError in our words."""
        try:
            return super().parse_known_args(args, namespace)
        except argparse.ArgumentError as error:
            raise self._reworded(error, args) from None

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as ArgumentParser does; what is left over is an OptionsError with the nearest option."""
        parsed, left = self.parse_known_args(args, namespace)
        if left:
            raise self.left_over(left)
        return parsed

    def left_over(self, left: Sequence[str]) -> OptionsError:
        """Return the error for arguments nobody knows; the first unknown option is the one to name."""
        flag = next((text for text in left if text.startswith("-") and text != "-"), None)
        if flag is None:
            return OptionsError(f"unexpected argument {shorten(left[0])}: options begin with -")
        known = set(self._option_string_actions)
        if any(isinstance(action, argparse._SubParsersAction) for action in self._actions):
            known |= BY_FLAG.keys()  # whose command's it was is not known here
        page = f"{self.prog} --help" if self.prog.startswith("aeros ") else "aeros run --help"
        return unknown(flag.split("=", 1)[0], known, page=page)

    def _reworded(self, error: argparse.ArgumentError, args: Sequence[str] | None) -> OptionsError:
        spellings = (error.argument_name or "").split("/")
        # argparse names all spellings of the option; the user's own is the last of them on the command line.
        said = [text.split("=", 1)[0] for text in args or ()]
        spelled = next((text for text in reversed(said) if text in spellings), spellings[-1])
        option = BY_FLAG.get(spelled)
        if "expected one argument" in error.message:
            return OptionsError(f"{spelled} needs a value", option=option.name if option else None)
        if choice := re.match(_CHOICE, error.message):
            return _no_such(spelled, choice[1], [name.strip().strip("'") for name in choice[2].split(",")])
        if "ignored explicit argument" in error.message:
            return OptionsError(f"{spelled} takes no value", option=option.name if option else None)
        return OptionsError(f"{spelled} {error.message}" if spelled else error.message)


#: In argparse's words.
_CHOICE = r"(?s)invalid choice: '(.*)' \(choose from (.*)\)$"


def _no_such(what: str, said: str, names: Sequence[str]) -> OptionsError:
    if what != "COMMAND":
        return OptionsError(
            f"{what} must be {' or '.join(filter(None, (', '.join(names[:-1]), names[-1])))}, not {shorten(said)}"
        )
    near = nearest(said, names)
    hint = f"did you mean {near}?" if near else "aeros --help lists them"
    return OptionsError(f"there is no command {shorten(said)}: {hint}")


class _Keep(argparse.Action):
    """Notes what was given and in which words. Values are converted later, with all other sources."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given = getattr(namespace, _GIVEN, [])
        setattr(namespace, _GIVEN, [*given, (option_string, None if self.nargs == 0 else values)])


def argument_parser() -> OptionsParser:
    """Return a parser of all options, without positionals and without --help, to be used in `parents=[…]`.

    Its namespace holds what `arguments_of` reads. Errors are OptionsError.
    """
    parser = OptionsParser(add_help=False)
    for title in GROUPS:
        group = parser.add_argument_group(title)
        for option in OPTIONS:
            if option.group == title and option.arguments:
                _add(group, option)
    return parser


def _parser_of(words: Sequence[str]) -> OptionsParser:
    """Return a parser of the options that these words can mean: to make one of all takes a start 2 ms."""
    parser = OptionsParser(add_help=False)
    for option in OPTIONS:
        flags = (*option.arguments, *option.old_flags)
        # Those of one letter may share a word.
        if any(len(flag) == 2 for flag in flags) or any(word.startswith(flags) for word in words):
            _add(parser, option)
    return parser


def _add(group: Any, option: Option) -> None:
    # argparse formats help with %, so a % in it must be doubled.
    shared: dict[str, Any] = {"action": _Keep, "dest": _GIVEN, "default": argparse.SUPPRESS}
    shared |= {"nargs": 0} if option.kind == "switch" else {"metavar": option.metavar}
    group.add_argument(*option.arguments, help=_help(option).replace("%", "%%"), **shared)
    for flag in option.old_flags:
        group.add_argument(flag, help=argparse.SUPPRESS, **shared)


def _help(option: Option) -> str:
    # A switch that is off and a value that is none go without saying.
    text = option.default_text or option.show(option.default_value())
    quiet = option.default_text is None and (text in ("none", "") or option.kind == "switch")
    return option.help if quiet else f"{option.help} [{text}]"


def arguments_of(namespace: argparse.Namespace) -> list[str]:
    """Return the options in a namespace as a list that `resolve` takes, in the user's spelling and order."""
    arguments: list[str] = []
    for flag, text in getattr(namespace, _GIVEN, []):
        if text is None:
            arguments.append(flag)
        elif text.startswith("-") and text != "-" and flag.startswith("--"):
            arguments.append(f"{flag}={text}")
        elif text.startswith("-") and text != "-":
            arguments.append(f"{flag}{text}")
        else:
            arguments += [flag, text]
    return arguments


def from_arguments(arguments: str | Sequence[str]) -> tuple[Layer, list[str]]:
    """Return what a command line says, and warnings for spellings Hypercorn has deprecated.

    arguments: one text, split as a shell does, or a list. Raises OptionsError.
    """
    words = _words(arguments)
    if "-h" in words or "--help" in words:
        raise OptionsError("no help is printed from here: `aeros run --help` lists all options")
    namespace, left = _parser_of(words).parse_known_args(words)
    if left:
        if not any(word.startswith("-") and word != "-" for word in left):
            near = nearest(f"--{left[0]}", BY_FLAG)
            hint = f"did you mean {near}?" if near else "the app is the one start() is called on"
            raise OptionsError(f"unexpected argument {shorten(left[0])}: only options are taken here; {hint}")
        raise argument_parser().left_over(left)
    return _layer(getattr(namespace, _GIVEN, []))


def _words(arguments: str | Sequence[str]) -> list[str]:
    if isinstance(arguments, str):
        try:
            return shlex.split(arguments)
        except ValueError as error:  # a quote or an escape without its end
            raise OptionsError(f"cannot split arguments {shorten(arguments)}: {error}") from None
    if isinstance(arguments, bytes | bytearray) or not isinstance(arguments, Sequence):
        raise OptionsError(f"arguments must be text or a list of texts, not {shorten(arguments)}")
    for word in arguments:
        if not isinstance(word, str):
            raise OptionsError(f"arguments must be texts; {shorten(word)} is not (write {shorten(str(word))})")
    return list(arguments)


def _layer(given: Sequence[tuple[str, str | None]]) -> tuple[Layer, list[str]]:
    layer: Layer = {}
    warnings: list[str] = []
    texts: dict[str, list[str]] = {}
    for flag, text in given:
        option = BY_FLAG[flag]
        raw: object = True if text is None else text
        if option.kind == "list":
            raw = texts.setdefault(option.name, [])
            raw.append(text or "")
        new = convert(option, raw, flag, "argument")
        old = layer.get(option.name)
        if flag in option.old_flags:
            warnings.append(f"{flag} is deprecated; write {option.arguments[0]}")
        # The last one wins, so that a script may append to what it was given; but two different arguments
        # for one thing, old and new, are a mistake.
        if old is not None and (flag in option.old_flags) != (old.spelled in option.old_flags):
            if old.value != new.value:
                raise contradiction(old, new)
            continue
        layer[option.name] = new
    return layer, warnings
