"""Lay out the folder that Zensical builds from: docs/, and pages made of files that stand elsewhere in the repository.

Links are written so that they work in the repository, too. Here they get the place that their target has on the site.
"""

import posixpath
import re
import shutil
import tomllib
from pathlib import Path

from . import options, variables

ROOT = Path(__file__).resolve().parents[2]
STAGED = ROOT / ".site"

# Files of the repository that are pages of the site.
PAGES = {
    "SECURITY.md": "about/security.md",
    "CHANGELOG.md": "about/changelog.md",
    "CONTRIBUTING.md": "about/contributing.md",
}
# Folders whose files stand together on one page.
FOLDERS = {"examples": "examples.md", "deploy": "deploy.md"}
# Pages that name everything once, and would stand before the page that explains.
UNSEARCHED = {"about/changelog.md", *FOLDERS.values()}
LANGUAGES = {
    ".py": "python",
    ".toml": "toml",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".conf": "nginx",
    ".html": "html",
    ".json": "json",
}
# This page is long: each of its parts becomes a page.
PARTED = "reference.md"
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s]+)(\))")


def stage(to: Path = STAGED) -> None:
    """Write the folder docs and the file zensical.toml, for Zensical to build from."""
    shutil.rmtree(to, ignore_errors=True)
    docs = to / "docs"
    pages = _gather()
    places = _places(pages)
    for place, (origin, text) in pages.items():
        path = docs / place
        path.parent.mkdir(parents=True, exist_ok=True)
        adapted = _adapted(text, origin, place, places)
        path.write_text(_unsearched(adapted) if place in UNSEARCHED else adapted)
    for picture in (path for path in (ROOT / "docs").rglob("*") if path.suffix in (".png", ".svg", ".js", ".css")):
        path = docs / picture.relative_to(ROOT / "docs")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, path)
    (to / "zensical.toml").write_text(variables.fill((ROOT / "docs/zensical.toml").read_text()))


def _gather() -> dict[str, tuple[str, str]]:
    """Return each page's place on the site, with the file of the repository that it comes from and its text."""
    pages = {}
    for path in sorted((ROOT / "docs").rglob("*.md")):
        name = path.relative_to(ROOT / "docs").as_posix()
        if name == PARTED:
            for place, part in _parts(path.read_text()):
                pages[place] = (f"docs/{name}", part)
        else:
            pages[name] = (f"docs/{name}", path.read_text())
    pages["reference/options.md"] = (f"docs/{PARTED}", options.page())
    for origin, place in PAGES.items():
        if place not in pages:
            pages[place] = (origin, (ROOT / origin).read_text())
    for folder, place in FOLDERS.items():
        pages[place] = (f"{folder}/", _files_of(folder))
    return pages


def _parts(text: str) -> list[tuple[str, str]]:
    """Part the reference at its headings of the second level."""
    parts = []
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        body = re.sub(r"^#(#+ )", r"\1", body, flags=re.MULTILINE)
        parts.append((f"reference/{_anchor(title)}.md", f"---\ntitle: {title}\n---\n# {title}\n{body}"))
    return parts


def _files_of(folder: str) -> str:
    """Return one page with the text of each file of a folder."""
    lines = [f"# Files in `{folder}/`", ""]
    for path in sorted((ROOT / folder).rglob("*")):
        text = path.read_text() if path.is_file() and path.suffix != ".pyc" else ""
        if not text or len(text) > 20_000:
            continue
        name = path.relative_to(ROOT / folder).as_posix()
        lines += [f"## {name}", "", f"```{LANGUAGES.get(path.suffix, 'text')}", text.rstrip(), "```", ""]
    return "\n".join(lines)


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _places(pages: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Return where a path of the repository, with or without an anchor, is on the site."""
    places = {}
    for place, (origin, text) in pages.items():
        if origin == f"docs/{PARTED}":
            places.setdefault(origin, "reference/options.md")
            for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
                places[f"{origin}#{_anchor(heading)}"] = f"{place}#{_anchor(heading)}"
        else:
            places[origin] = place
    places["README.md"] = "index.md"
    for folder, place in FOLDERS.items():
        places[folder] = place
        for path in (ROOT / folder).rglob("*"):
            name = path.relative_to(ROOT / folder).as_posix()
            places[f"{folder}/{name}"] = place if path.is_dir() else f"{place}#{_anchor(name.replace('/', ''))}"
    return places


def _unsearched(text: str) -> str:
    """Return a page that the search leaves out."""
    return text if text.startswith("---") else f"---\nsearch:\n  exclude: true\n---\n{text}"


def _led(text: str) -> str:
    """Put a page's description under its title: there readers and the search find it."""
    found = re.match(r"---\ntitle: .+\ndescription: \"?(.+?)\"?\n---\n# .+\n", text)
    return f"{text[: found.end()]}\n{found[1]}\n{{ .lead }}\n{text[found.end() :]}" if found else text


def _adapted(text: str, origin: str, place: str, places: dict[str, str]) -> str:
    text = _led(variables.fill(text))
    text = re.sub(r"^<!-- (not run|file|log|part)\b.*?-->\n", "", text, flags=re.MULTILINE)
    parts = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)  # blocks of code stay as they are
    parts[::2] = [_LINK.sub(lambda link: _linked(link, origin, place, places), part) for part in parts[::2]]
    return "".join(parts)


def _linked(link: re.Match[str], origin: str, place: str, places: dict[str, str]) -> str:
    """Return a link as it has to be on the site."""
    target, _, anchor = link[2].partition("#")
    if re.match(r"[a-z]+:", link[2]) or (not target and origin != f"docs/{PARTED}"):
        return link[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target)) if target else origin
    to = places.get(f"{path}#{anchor}") or places.get(path)
    if to is None:
        if path.startswith("docs/"):
            to = path.removeprefix("docs/")  # a picture, or a mistake that Zensical will name
        else:
            return link[0].split("](")[0].removeprefix("!")[1:]  # a file that the site has not: its name alone
    to, _, of_place = to.partition("#")
    anchor = of_place or anchor
    name = posixpath.relpath(to, posixpath.dirname(place)) if to != place else ""
    return (
        f"{link[1]}{name}{'#' + anchor if anchor else ''}{link[3]}"
        if name or anchor
        else f"{link[1]}{posixpath.basename(to)}{link[3]}"
    )


def check_navigation() -> None:
    """Raise SystemExit where a page is in no menu, or a menu names a page that does not exist."""
    pages = set(_gather())
    config = tomllib.loads((ROOT / "docs/zensical.toml").read_text())
    named = set(re.findall(r"[\w/.-]+\.md", str(config["project"]["nav"])))
    if named != pages:
        raise SystemExit(
            f"docs/zensical.toml: not in nav: {sorted(pages - named)}; no such page: {sorted(named - pages)}"
        )
