"""slowhttptest, the program from Debian's package of that name, against a server: all of its four attacks."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.conftest import Serve
from tests.helpers.figures import Report
from tests.helpers.programs import program

from .test_hostile import MIB, siege, start

ATTACKS = {
    "slow heads (slowloris)": ("-H", "-i", "1"),
    "slow bodies": ("-B", "-i", "1", "-s", "100000", "-x", "10"),
    "slow reading": ("-X", "-w", "10", "-y", "20", "-n", "1", "-z", "32", "-k", "3"),
    "ranges (Apache killer)": ("-R", "-a", "10", "-b", "3000"),
}


@pytest.mark.slow
@pytest.mark.limit_s(180)
@pytest.mark.parametrize("attack", ATTACKS)
def test_slowhttptest(serve: Serve, report: Report, attack: str) -> None:
    server = start(serve)
    argv = [program("slowhttptest"), "-c", "400", "-r", "200", "-l", "30", "-p", "3", "-u", f"{server.url}/upload"]
    if attack != "slow bodies":
        argv[-1] = f"{server.url}/"
    with siege(server, report, 30 * MIB):
        done = subprocess.run([*argv, *ATTACKS[attack]], capture_output=True, text=True, timeout=120, check=False)
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", done.stdout)
    lasted = re.findall(r"Test ended on (\d+)th second", plain)[-1]
    report.note(f"{attack}: the last of 400 connections ended by the server after {lasted} s")
    assert re.findall(r"Exit status:\s*(.*)", plain)[-1].strip() == "No open connections left"
    assert not re.search(r"service available:\s+NO", plain)
