"""What pages write as {{ name }}, because it will change.

The name `aeros` on the public package index belongs to another project. So nothing may tell people to install that one.
"""

VARIABLES = {
    "install": "pip install ./aeros",
}


def fill(text: str) -> str:
    for name, value in VARIABLES.items():
        text = text.replace(f"{{{{ {name} }}}}", value)
    return text
