"""`core.interpreter`: a Python that is not tested is named."""

from __future__ import annotations

import sys

from aeros.cli.doctor import examine, python
from aeros.core.process.interpreter import untested
from aeros.options import resolve


def test_a_free_threaded_python_is_named_and_no_other() -> None:
    assert untested("t").startswith("this is a free-threaded Python")
    assert untested("d") == untested("") == ""


def test_the_doctor_names_the_python_that_serves() -> None:
    options = resolve(environ={})
    (finding,) = [found for found in examine(options) if found.check == "Python"]
    assert sys.version.split()[0] in finding.text and finding.level == ("warning" if untested() else "ok")
    (finding,) = python(options, untested("t"))
    assert finding.level == "warning" and "free-threaded" in finding.text
