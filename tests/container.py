"""scripts/container: the steps of deploy/docker/Dockerfile; the image as process 1, without root, on a read-only disk.

    python -m tests.container ROOT

ROOT: a folder with a clean Debian. Each step is done in a copy of it, and the image runs in namespaces of its own.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from .helpers.balancers import free_port
from .helpers.conditions import eventually
from .helpers.serverproc import REPOSITORY

DOCKERFILE = REPOSITORY / "deploy/docker/Dockerfile"
APP = """
import os
from quart import Quart

app = Quart(__name__)


@app.get("/")
async def home():
    return {"pid": os.getpid(), "uid": os.getuid(), "writable": os.access("/srv", os.W_OK)}
"""
#: The mounts of a container: /proc of its own, no disk to write to but /tmp and /run/aeros.
READ_ONLY = """
set -e
mount --bind {root} {root}
mount -t proc proc {root}/proc
mount --rbind /dev {root}/dev
mount -t tmpfs tmpfs {root}/tmp
mount -t tmpfs -o uid=10001,gid=10001,mode=0700 tmpfs {root}/run/aeros
mount -o remount,bind,ro {root}
"""


def instructions() -> Iterator[tuple[str, str]]:
    """Yield the instructions of the Dockerfile: word and rest."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        yield word, rest


def run(argv: list[str], **more: object) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{shlex.join(argv)}: {done.stdout}{done.stderr}"
    return str(done.stdout)


def make_context(folder: Path) -> None:
    """What a user has beside the Dockerfile: app.py, and requirements.txt, with all packages as files."""
    (folder / "app.py").write_text(APP)
    run(
        [
            sys.executable,
            "-m",
            "build",
            "--no-isolation",
            "--wheel",
            "--outdir",
            str(folder / "wheels"),
            str(REPOSITORY),
        ]
    )
    (wheel,) = (folder / "wheels").glob("*.whl")
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "-d", str(folder / "wheels")]
    run([*pip, "--only-binary", ":all:", f"{wheel}[standard]"])
    (folder / "requirements.txt").write_text("--no-index\n--find-links /wheels\naeros[standard]\n")


class Image:
    """An image that is a folder: its steps are done by chroot, and it runs in namespaces of its own."""

    def __init__(self, base: Path, context: Path) -> None:
        self.base, self.context = base, context
        self.stages: dict[str, Path] = {}
        self.root, self.folder, self.user = base, "/", "0:0"
        self.environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PIP_ROOT_USER_ACTION": "ignore",
        }
        self.said: dict[str, list[str]] = {}
        for word, rest in instructions():
            print(f"{word} {rest}"[:110], flush=True)
            self.step(word, rest)

    def step(self, word: str, rest: str) -> None:
        match word:
            case "FROM":
                self.begin(*rest.split(" AS "))
            case "RUN":
                self.inside(["/bin/sh", "-c", f"cd {self.folder} && {rest}"])
            case "COPY":
                self.copy(*rest.split())
            case "WORKDIR":
                self.folder = rest
            case "ENV":
                pairs = re.findall(r"(\w+)=(\S+)", rest)
                self.environment |= {name: value.replace("$PATH", self.environment["PATH"]) for name, value in pairs}
            case "USER":
                self.user = rest
            case "ENTRYPOINT" | "CMD" | "HEALTHCHECK":
                self.said[word] = json.loads(rest[rest.index("[") :])
            case _:
                assert word in ("EXPOSE", "STOPSIGNAL"), word

    def begin(self, image: str, name: str = "") -> None:
        assert image.startswith("python:3.13"), image
        self.root = self.stages[name] = self.context.parent / f"root-{name or 'last'}"
        run(["cp", "-a", "--reflink=auto", str(self.base), str(self.root)])
        (self.root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        if name:
            shutil.copytree(self.context / "wheels", self.root / "wheels")
        self.folder = "/"

    def inside(self, argv: list[str]) -> str:
        return run(["chroot", str(self.root), *argv], env=self.environment)

    def copy(self, *words: str) -> None:
        *flags, source, target = words
        stages = [flag.partition("=")[2] for flag in flags if flag.startswith("--from=")]
        origin = self.stages[stages[0]] / source[1:] if stages else self.context / source
        to = self.root / str(Path(self.folder, target))[1:]
        run(["cp", "-a", str(origin), f"{to}/" if target.endswith("/") else str(to)])

    def start(self, *more: str, log: Path) -> subprocess.Popen[bytes]:
        """The entry point as process 1 of the image's user, on a disk that cannot be written to."""
        uid, gid = self.user.split(":")
        program = shlex.join([*self.said["ENTRYPOINT"], *more])
        rights = f"--reuid {uid} --regid {gid} --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all"
        lines = READ_ONLY.format(root=shlex.quote(str(self.root)))
        lines += f"cd {self.root}\nexec chroot . setpriv {rights} sh -c 'cd {self.folder}; exec {program}'\n"
        with log.open("wb") as out:
            return subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", lines],
                env=self.environment,
                stdout=out,
                stderr=out,
            )

    def enter(self, first: int, argv: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespaces of process 1, as `docker exec` does."""
        uid, gid = self.user.split(":")
        frame = ["nsenter", "-t", str(first), "-m", "-p", "-r", "-S", uid, "-G", gid]
        return subprocess.run([*frame, *argv], env=self.environment, capture_output=True, text=True, check=False)


def use(image: Image, folder: Path) -> None:
    """Start it, ask it, reload it, ask for its health, stop it."""
    url, log = f"127.0.0.1:{free_port()}", folder / "log"
    command = [url if word == "0.0.0.0:8000" else word for word in image.said["CMD"]]
    container = image.start(*command, log=log)

    def answer() -> dict[str, object]:
        assert container.poll() is None, log.read_text()
        with urllib.request.urlopen(f"http://{url}/", timeout=5) as got:
            found: dict[str, object] = json.load(got)
            return found

    try:
        said = eventually(answer, 60)
        assert (said["uid"], said["writable"]) == (10001, False), said
        (first,) = map(int, Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split())
        health = image.enter(first, image.said["HEALTHCHECK"])
        assert health.returncode == 0, health.stderr
        print(image.enter(first, ["aeros", "status"]).stdout)
        os.kill(first, signal.SIGHUP)
        eventually(lambda: "generation 2 serves" in log.read_text(), 60)
        assert answer()["uid"] == 10001
        os.kill(first, signal.SIGTERM)
        assert container.wait(60) == 0, log.read_text()
        print(log.read_text())
    finally:
        container.kill()
        container.wait()


def main(root: str) -> None:
    with tempfile.TemporaryDirectory(prefix="aeros-container-") as name:
        folder = Path(name)
        (folder / "context").mkdir()
        make_context(folder / "context")
        use(Image(Path(root), folder / "context"), folder)
    print("The image builds, serves as process 1 without root on a read-only disk, is healthy, reloads and stops.")


if __name__ == "__main__":
    main(sys.argv[1])
