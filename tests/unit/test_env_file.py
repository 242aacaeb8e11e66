"""Files of variables: what a shell, Docker and python-dotenv agree on."""

from __future__ import annotations

import pytest

from aeros.core.env_file import parse


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1\nB = two words \n", {"A": "1", "B": "two words"}),
        ("# no\n\nexport A='x # y' # z\n", {"A": "x # y"}),
        ('A="one\\ntwo \\"q\\"" # note', {"A": 'one\ntwo "q"'}),
        ("A=#b\nB=c#d\nC=e #f\nD=", {"A": "", "B": "c#d", "C": "e", "D": ""}),
        ("\ufeffA=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("A=1\nA=2", {"A": "2"}),
        ("A='it\\n'", {"A": "it\\n"}),
    ],
)
def test_what_is_read(text: str, found: dict[str, str]) -> None:
    assert parse(text) == found


@pytest.mark.parametrize("text", ["just words", "A=1\n2B=3", 'A="no end', "A='x' y", "=1"])
def test_what_is_refused_names_its_line(text: str) -> None:
    with pytest.raises(ValueError, match=f"line {text.count(chr(10)) + 1} "):
        parse(text)
