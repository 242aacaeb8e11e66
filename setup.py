"""What setup.cfg cannot say: addresses made of its section [home], and a description whose links are absolute."""

import configparser
import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def home() -> dict[str, str]:
    """Return the addresses of the repository and of the documentation."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return dict(config["home"])


def description(repository: str) -> str:
    """Return README.md with absolute links: an index shows it, and has none of our other files."""

    def absolute(link: re.Match[str]) -> str:
        before, target = link[1], link[2]
        if re.match(r"[a-z]+:|#", target):
            return link[0]
        place = "tree" if (ROOT / target).is_dir() else "blob"
        kind = "raw" if before.startswith("!") else place
        return f"{before}{repository}/{kind}/main/{target})"

    return re.sub(r"(!?\[[^\]]*\]\()([^)\s]+)\)", absolute, (ROOT / "README.md").read_text(encoding="utf-8"))


places = home()
setup(
    long_description=description(places["repository"]),
    long_description_content_type="text/markdown",
    url=places["documentation"],
    project_urls={
        "Source": places["repository"],
        "Documentation": places["documentation"],
        "Changes": f"{places['repository']}/blob/main/CHANGELOG.md",
        "Issues": f"{places['repository']}/issues",
        "Security": f"{places['repository']}/blob/main/SECURITY.md",
    },
)
