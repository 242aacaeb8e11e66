"""What scripts/docs runs: stage the pages, have Zensical build them, finish what it built."""

import functools
import http.server
import subprocess
import sys
from pathlib import Path

from . import finish, llms, stage

SITE = stage.STAGED / "site"


def build() -> int:
    """Return the exit code of Zensical; with --strict it fails for a link or an anchor that leads nowhere."""
    stage.check_navigation()
    stage.stage()
    zensical = Path(sys.executable).with_name("zensical")
    done = subprocess.run([zensical, "build", "--strict", "--clean"], cwd=stage.STAGED, check=False)
    if done.returncode == 0:
        finish.finish(SITE)
        llms.write(stage.STAGED / "docs", SITE)
    return done.returncode


def serve() -> int:
    code = build()
    if code == 0:
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(SITE))
        print("http://127.0.0.1:8080, Ctrl+C ends it")
        http.server.ThreadingHTTPServer(("127.0.0.1", 8080), handler).serve_forever()
    return code


def index() -> int:
    stage.stage()
    print(llms.index(stage.STAGED / "docs"), end="")
    return 0


COMMANDS = {"build": build, "serve": serve, "llms": index}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        print("usage: scripts/docs build|serve|test|llms", file=sys.stderr)
        sys.exit(2)
    try:
        sys.exit(COMMANDS[sys.argv[1]]())
    except KeyboardInterrupt:
        sys.exit(0)
