"""Windows is refused in a sentence, before anything is imported that only POSIX has."""

from __future__ import annotations

import subprocess
import sys

import pytest

PLAYED = """
import sys
sys.platform = "win32"
for name in ("fcntl", "resource", "pwd", "grp", "termios", "uvloop"):
    sys.modules[name] = None
sys.argv[0] = sys.argv[1]
import aeros
"""


@pytest.mark.parametrize("program", ["aeros.exe", "-m", "shop.py"])
def test_windows_is_refused_in_a_sentence(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", PLAYED, program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Aeros needs fork(), which Windows does not have: run it in WSL" in done.stderr.splitlines()[-1]
    assert ("Traceback" in done.stderr) == (program == "shop.py")
