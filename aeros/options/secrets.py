"""Options that are secrets and came by variables: the server needs them, and nothing that it starts does.

While a server runs they are in no environment, neither `os.environ` nor what /proc shows, so that the app and its
helpers do not have what steers the server. This process alone keeps them, for programs that it runs again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..core.process import origin
from ..core.process.signalling import blank_variables
from .spec import ENV_PREFIX
from .table import OPTIONS

VARIABLES = frozenset(ENV_PREFIX + name.upper() for option in OPTIONS if option.secret for name in option.names)

#: What stands for a secret in a program of another user: that there is one is all it needs to know.
MASK = "known-to-the-supervisor"

#: All that are hidden, and those of them that the program was started with: others it sets itself, each time it runs.
_hidden: dict[str, str] = {}
_of_start: dict[str, str] = {}


def hide() -> dict[str, str]:
    """Take them out of the environment; return those that a program which is run again has to be told."""
    found = {name: os.environ.pop(name) for name in VARIABLES & os.environ.keys()}
    blank_variables(VARIABLES)
    _of_start.update(origin.give_away(VARIABLES))
    # What was there first stays: a program that reads a file of settings at import leaves alone what is set.
    _hidden.update({name: value for name, value in found.items() if name not in _hidden})
    return dict(_of_start)


def learn(told: Mapping[str, str]) -> None:
    """Hide what the supervisor told this program, which it has run again without them."""
    _hidden.update({name: value for name, value in told.items() if name in VARIABLES})


def mask() -> None:
    """Forget what they are, and keep that they are."""
    _hidden.update(dict.fromkeys(_hidden, MASK))
    _of_start.clear()


def environment() -> dict[str, str]:
    """Return the environment with what is hidden, for the options."""
    return {**os.environ, **_hidden}


def restore() -> None:
    """Give the program back what it was started with: its server is over."""
    os.environ.update(_hidden)
    _hidden.clear()


def forget() -> None:
    """Keep none of them: this process is no supervisor."""
    _hidden.clear()
    _of_start.clear()
