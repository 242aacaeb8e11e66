"""deploy/systemd: how much the units leave to whoever takes over the app, by systemd's own measure."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
#: In tenths, of a hundred; docs/least-rights.md says what the figure is.
MOST = 20


def exposure(unit: Path) -> subprocess.CompletedProcess[str]:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    command = [analyze, "security", "--offline=true", f"--threshold={MOST}", "--no-pager", str(unit)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    if "unrecognized option" in done.stderr:
        pytest.skip("needs systemd 250 or newer")
    return done


@pytest.mark.parametrize("name", ["aeros.service", "aeros@.service"])
def test_a_unit_leaves_little(name: str) -> None:
    done = exposure(UNITS / name)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


def test_the_measure_measures(tmp_path: Path) -> None:
    loose = tmp_path / "aeros.service"
    loose.write_text((UNITS / "aeros.service").read_text().replace("SystemCallFilter=", "#").replace("Restrict", "#"))
    assert exposure(loose).returncode == 1
