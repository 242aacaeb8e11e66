"""What pages write as {{ name }}, because it will change.

The name `aeros` on the public package index belongs to another project. So nothing may tell people to install that one.
"""

import configparser
from pathlib import Path

_setup = configparser.ConfigParser()
_setup.read(Path(__file__).resolve().parents[2] / "setup.cfg")

VARIABLES = {
    "install": "pip install ./aeros",
    **_setup["home"],
}


def fill(text: str) -> str:
    for name, value in VARIABLES.items():
        text = text.replace(f"{{{{ {name} }}}}", value)
    return text
