"""Which files a running program depends on, and which of them have changed."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aeros.core.sources import SourceFiles


@pytest.fixture
def files(tmp_path: Path) -> Iterator[SourceFiles]:
    for name in ("app.py", "templates/page.html", ".env", "node_modules/x/setup.py", "data.db"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    found = SourceFiles(["*.py", "*.html", ".env", "locale/*.po"], str(tmp_path))
    yield found
    found.close()


@pytest.mark.parametrize("name", ["app.py", "templates/page.html", ".env", "locale/de.po", "new/deep/module.py"])
def test_what_is_written_is_found_changed_once(files: SourceFiles, tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("other")
    assert files.changed() == [str(tmp_path / name)]
    assert files.changed() == []


@pytest.mark.parametrize("name", ["data.db", "node_modules/x/setup.py", "locale.po", "__pycache__/app.py", ".git/x.py"])
def test_what_nobody_names_is_not(files: SourceFiles, tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("other")
    assert files.changed() == []


def test_what_is_gone_has_changed(files: SourceFiles, tmp_path: Path) -> None:
    (tmp_path / ".env").unlink()
    assert files.changed() == [str(tmp_path / ".env")]


def test_a_new_content_of_the_same_size_and_time_is_found_where_the_file_is_another(
    files: SourceFiles, tmp_path: Path
) -> None:
    path = tmp_path / "app.py"
    other = tmp_path / "other.tmp"
    other.write_text("2")
    times = path.stat()
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.rename(path)  # as editors and `sed -i` save
    assert files.changed() == [str(path)]


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_a_change_is_told_at_once_and_noise_is_not(files: SourceFiles, tmp_path: Path) -> None:
    def told() -> bool:
        return bool(select.select([files.fileno()], [], [], 5)[0]) and files.stirred()

    (tmp_path / "data.db").write_text("22")
    assert not told()
    (tmp_path / "app.py").write_text("22")
    assert told()
    (tmp_path / "made").mkdir()
    assert told()
    assert files.changed() == [str(tmp_path / "app.py")]  # and looks into the new folder from now on
    (tmp_path / "made" / "in_it.py").write_text("3")
    assert told()
    assert files.changed() == [str(tmp_path / "made" / "in_it.py")]
