"""Programs from Debian's packages which tests run beside a server; `scripts/test` installs them where it can."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str, package: str | None = None) -> str:
    """The path of an installed program. Without it the test is skipped, or fails where CI is set."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is not None:
        return found
    reason = f"{name} is not installed: apt-get install {package or name}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
