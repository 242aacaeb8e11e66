"""Completion scripts for shells, made from the command line's own parser, so that they cannot say anything else."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

from ..core.record import record

SHELLS = ("bash", "zsh", "fish")


@record
class _Flag:
    """One option. choices: of its value; takes: whether it has one."""

    names: tuple[str, ...]
    help: str
    takes: bool
    choices: tuple[str, ...]


@record
class _Command:
    """What may follow a command: flags, and words that stand alone. name "": what comes before any command."""

    name: str
    help: str
    flags: tuple[_Flag, ...]
    words: tuple[str, ...]


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return a script that completes the command `parser.prog` in `shell`, one of SHELLS."""
    first, commands = _read(parser)
    write = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    return write(parser.prog, first, commands)


def _read(parser: argparse.ArgumentParser) -> tuple[_Command, list[_Command]]:
    commands = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            commands = [_command(name, helps.get(name, ""), inner) for name, inner in action.choices.items()]
    return _command("", "", parser), commands


def _command(name: str, text: str, parser: argparse.ArgumentParser) -> _Command:
    flags: list[_Flag] = []
    words: list[str] = []
    for action in parser._actions:
        choices = tuple(str(choice) for choice in action.choices or ())
        if not action.option_strings:
            words += choices
        elif action.help != argparse.SUPPRESS:
            told = (action.help or "").replace("%%", "%")
            flags.append(_Flag(tuple(action.option_strings), told, action.nargs != 0, choices))
    return _Command(name, text, tuple(flags), tuple(words))


def _names(command: _Command) -> list[str]:
    return [name for flag in command.flags for name in flag.names]


def _values(commands: Sequence[_Command]) -> dict[tuple[str, ...], list[str]]:
    """Return the pairs "command flag" after which a value comes, by what it may be: () for a file or free text."""
    found: dict[tuple[str, ...], list[str]] = {}
    for command in commands:
        for flag in command.flags:
            if flag.takes:
                found.setdefault(flag.choices, []).extend(f"'{command.name} {name}'" for name in flag.names)
    return found


def _bash(program: str, first: _Command, commands: Sequence[_Command]) -> str:
    lines = [
        f"# bash completion of {program}: source this, or put it into /etc/bash_completion.d",
        f"_{program}() {{",
        "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}",
        "    local command='' flags='' words='' index",
        "    COMPREPLY=()",
        "    for ((index = 1; index < COMP_CWORD; index++)); do",
        "        if [[ ${COMP_WORDS[index]} != -* ]]; then command=${COMP_WORDS[index]}; break; fi",
        "    done",
        '    case "$command $before" in',
    ]
    # An empty answer means files: -o default below.
    lines += [
        f"        {'|'.join(pairs)}) words={shlex.quote(' '.join(choices))} ;;"
        for choices, pairs in _values(commands).items()
    ]
    lines += ["        *)", '            case "$command" in']
    for command in (first, *commands):
        flags, words = " ".join(_names(command)), " ".join(command.words)
        lines.append(f"                '{command.name}') flags={shlex.quote(flags)} words={shlex.quote(words)} ;;")
    return "\n".join(
        [
            *lines,
            "            esac",
            "            if [[ $word == -* ]]; then words=$flags; fi ;;",
            "    esac",
            '    COMPREPLY=($(compgen -W "$words" -- "$word")) || :',
            "}",
            f"complete -o default -F _{program} {program}",
        ]
    )


def _zsh(program: str, first: _Command, commands: Sequence[_Command]) -> str:
    lines = [
        f"#compdef {program}",
        f"# zsh completion of {program}: put it as _{program} into a folder of $fpath, or source it after compinit",
        f"_{program}() {{",
        "    local command='' index",
        "    local -a flags found",
        "    for ((index = 2; index < CURRENT; index++)); do",
        "        if [[ $words[index] != -* ]]; then command=$words[index]; break; fi",
        "    done",
        '    case "$command $words[CURRENT-1]" in',
    ]
    for choices, pairs in _values(commands).items():
        action = f"compadd -- {shlex.join(choices)}" if choices else "_files"
        lines.append(f"        {'|'.join(pairs)}) {action}; return ;;")
    lines += ["    esac", '    case "$command" in']
    helps = {command.name: command.help for command in commands}
    for command in (first, *commands):
        described = [_described(name, flag.help) for flag in command.flags for name in flag.names]
        words = [_described(word, helps.get(word, "") if command is first else "") for word in command.words]
        lines.append(f"        '{command.name}') flags=({shlex.join(described)}) found=({shlex.join(words)}) ;;")
    return "\n".join(
        [
            *lines,
            "    esac",
            "    if [[ $PREFIX == -* ]]; then",
            "        _describe -o option flags",
            "    else",
            "        (( $#found )) && _describe argument found",
            "        [[ -n $command ]] && _files",
            "    fi",
            "}",
            f'if [[ $funcstack[1] == _{program} ]]; then _{program} "$@"; else compdef _{program} {program}; fi',
        ]
    )


def _described(name: str, text: str) -> str:
    return name.replace(":", "\\:") + (f":{text}" if text else "")


def _fish(program: str, first: _Command, commands: Sequence[_Command]) -> str:
    lines = [f"# fish completion of {program}: put it as ~/.config/fish/completions/{program}.fish"]
    for command in (first, *commands):
        when = f"__fish_seen_subcommand_from {command.name}" if command.name else "__fish_use_subcommand"
        start = f"complete -c {program} -n {_fish_quote(when)}"
        for flag in command.flags:
            named = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
            value = f" -x -a {_fish_quote(' '.join(flag.choices))}" if flag.choices else " -r" if flag.takes else ""
            lines.append(f"{start} {named}{value} -d {_fish_quote(flag.help)}")
        if command.name and command.words:
            lines.append(f"{start} -a {_fish_quote(' '.join(command.words))}")
    start = f"complete -c {program} -n __fish_use_subcommand -f -a"
    lines += [f"{start} {command.name} -d {_fish_quote(command.help)}" for command in commands]
    return "\n".join(lines)


def _fish_quote(text: str) -> str:
    # In fish a quoted text knows two escapes, \\ and \'.
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
