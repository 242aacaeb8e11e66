"""A real systemd, as PID 1 of namespaces of its own, that knows no units but those it is given.

Nothing of the machine can be touched from inside: the root and /proc/sys are read-only, /run, /tmp, /var and /dev are
its own, and its unit path is one directory, so that no service of the distribution starts.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .conditions import eventually

SYSTEMD = Path("/lib/systemd/systemd")
#: Targets that every unit names without saying so.
TARGETS = ("sysinit", "basic", "shutdown", "sockets", "multi-user", "network", "all")

# $1: directory with the units and with srv, which is /srv inside; $2: the cgroup to be in.
_OUTER = """
set -e
echo $$ > "$2/cgroup.procs"
exec unshare --pid --mount --cgroup --uts --ipc --fork --kill-child bash "$1/inner.sh" "$1"
"""

_INNER = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/keep /run/systemd/system /run/lock /run/dev
mount --rbind "$1" /run/keep
mount -t tmpfs -o mode=755 tmpfs /srv
while read -r from to; do
    mkdir -p "/srv/$to"
    mount --bind "$from" "/srv/$to"
done < "$1/binds"
for place in /tmp /var/tmp /var/log; do
    mount -t tmpfs -o mode=1777 tmpfs "$place"
done
mount -t tmpfs -o mode=755 tmpfs /run/dev
for name in null zero full random urandom tty; do
    touch "/run/dev/$name"
    mount --bind "/dev/$name" "/run/dev/$name"
done
mkdir /run/dev/pts /run/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts /run/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /run/dev/shm
ln -s pts/ptmx /run/dev/ptmx
ln -s /proc/self/fd /run/dev/fd
touch /run/dev/console
mount --bind /run/keep/console /run/dev/console
mount --move /run/dev /dev
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -o remount,bind,ro /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -o remount,bind,ro /
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=test SYSTEMD_UNIT_PATH=/run/keep/units \
    /lib/systemd/systemd --system --unit=all.target --log-target=console --show-status=no
"""


class Systemd:
    """One systemd, alive inside its with block. `units` may be changed while it runs; then `ctl("daemon-reload")`."""

    def __init__(self, folder: Path, binds: dict[Path, str]) -> None:
        """binds: directories by where they are below /srv inside."""
        self.folder = folder
        self.units = folder / "units"
        self.units.mkdir(parents=True)
        for target in TARGETS:
            (self.units / f"{target}.target").write_text(f"[Unit]\nDescription={target}\nDefaultDependencies=no\n")
        (folder / "binds").write_text("".join(f"{outside} {inside}\n" for outside, inside in binds.items()))
        (folder / "outer.sh").write_text(_OUTER)
        (folder / "inner.sh").write_text(_INNER)
        self.console = folder / "console"
        self.console.touch()
        self._cgroup = next(
            place for place in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")) if place.is_dir()
        ) / (f"aeros-test-{os.getpid()}")

    def __enter__(self) -> Systemd:
        self._cgroup.mkdir()
        log = (self.folder / "log").open("wb")
        command = ["bash", str(self.folder / "outer.sh"), str(self.folder), str(self._cgroup)]
        self._popen = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        try:
            eventually(lambda: self.ctl("is-system-running").stdout.strip() == "running", 30, "a running systemd")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(
                self._popen.pid, signal.SIGKILL
            )  # and with it, by --kill-child, PID 1 of the namespace and all in it
        self._popen.wait()
        deadline = time.monotonic() + 10
        while self._cgroup.exists() and time.monotonic() < deadline:
            for place in sorted(self._cgroup.rglob("*/"), key=lambda path: -len(path.parts)):
                with contextlib.suppress(OSError):
                    place.rmdir()
            with contextlib.suppress(OSError):
                self._cgroup.rmdir()
        assert not self._cgroup.exists(), "its control group is still in use"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace") + self.console.read_text(errors="replace")

    def inside(self, *command: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        first = Path(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children").read_text().split()
        if not first:
            return subprocess.CompletedProcess(command, 1, "", "there is no PID 1 yet")
        enter = [
            "nsenter",
            "-t",
            first[0],
            "-p",
            "-m",
            "-u",
            "-i",
            "-C",
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        ]
        return subprocess.run([*enter, *command], capture_output=True, text=True, timeout=timeout_s, check=False)

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.inside("systemctl", *words)

    def show(self, unit: str) -> dict[str, str]:
        """What `systemctl show` says of a unit."""
        lines = self.ctl("show", unit).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


def version() -> int:
    """The version of the systemd that is installed; skips the test where it cannot run in namespaces."""
    needed = all(shutil.which(name) for name in ("unshare", "nsenter", "systemctl"))
    if not SYSTEMD.exists() or not needed or os.geteuid() != 0:
        pytest.skip("needs systemd, util-linux and root")
    allowed = subprocess.run(
        ["unshare", "--pid", "--mount", "--cgroup", "--uts", "--ipc", "--fork", "true"],
        capture_output=True,
        check=False,
    )
    if allowed.returncode:
        pytest.skip("namespaces are not allowed here")
    said = subprocess.run([SYSTEMD, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split()[1])
