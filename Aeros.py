"""The documented spelling: `from Aeros import WebServer` gives the very objects of `aeros`."""

import sys

import aeros.misc
from aeros import *  # noqa: F403

# `from Aeros.misc import jsonify`: the import system finds the submodule here once this module has run.
sys.modules["Aeros.misc"] = misc = aeros.misc
