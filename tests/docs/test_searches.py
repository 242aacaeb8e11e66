"""What people type leads to its page: among the first three, by the words of the search index's texts."""

from __future__ import annotations

import math
import re
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from scripts.site import stage

SEARCHES = {
    "quart production server": "start/production",
    "deploy quart": "start/production",
    "app.run this is a development server": "migrate/app-run",
    "hypercorn workers": "how-to/workers",
    "how many workers": "how-to/workers",
    "kubernetes one process per container": "how-to/kubernetes",
    "auto reload": "start/develop",
    "worker timeout killed": "how-to/stuck-worker",
    "which handler blocks the event loop": "how-to/stuck-worker",
    "graceful shutdown hangs": "how-to/stop",
    "SIGTERM lost requests kubernetes": "how-to/kubernetes",
    "zero downtime deploy": "how-to/deploy",
    "nginx 502 upstream prematurely closed": "how-to/nginx",
    "https scheme wrong url_for http": "how-to/nginx",
    "real client ip X-Forwarded-For": "how-to/client-address",
    "nginx unix socket permission denied": "how-to/nginx",
    "root_path sub-path": "how-to/sub-path",
    "letsencrypt certbot": "how-to/certificates",
    "client certificates mTLS": "how-to/certificates",
    "dockerfile quart fastapi": "how-to/docker",
    "docker compose nginx postgres redis": "how-to/compose",
    "systemd unit": "how-to/systemd",
    "json logs": "how-to/logs",
    "access log format duplicate": "how-to/logs",
    "request id in every line": "how-to/request-id",
    "prometheus multiprocess wrong values": "how-to/metrics",
    "healthcheck readyz": "how-to/health",
    "opentelemetry sentry": "how-to/tracing",
    "memory grows": "how-to/memory",
    "out of memory share a model": "how-to/memory",
    "polars torch hangs after fork": "how-to/native-libraries",
    "scheduler runs once per worker": "how-to/one-worker-jobs",
    "background task after response": "how-to/background",
    "shared dict between workers cache": "how-to/shared-state",
    "websocket broadcast workers": "how-to/websocket-broadcast",
    "server-sent events buffering": "how-to/streaming",
    "upload size 413": "how-to/limits",
    "static files": "how-to/static",
    "gzip": "how-to/compression",
    "cors": "how-to/cors",
    "gunicorn alternative switch": "migrate/gunicorn",
    "pytest fixture websocket test": "start/test",
}
STOP = {"the", "a", "in", "is", "this", "how", "which", "of", "after", "per"}


def words(text: str) -> list[str]:
    return [stem(word) for word in re.findall(r"[a-z0-9_]+", text.lower()) if word not in STOP]


def stem(word: str) -> str:
    return re.sub(r"(ing|ed|es|s|e)$", "", word) if len(word) > 4 else word


@cache
def index() -> dict[str, Counter[str]]:
    """Each page's words, those of its title and headings counted more."""
    with tempfile.TemporaryDirectory() as folder:
        stage.stage(Path(folder))
        return {
            path.relative_to(f"{folder}/docs").with_suffix("").as_posix(): counted(path)
            for path in Path(folder).rglob("*.md")
        }


def counted(path: Path) -> Counter[str]:
    text = path.read_text()
    if "exclude: true" in text[:300]:
        return Counter()
    found = Counter({word: min(count, 3) for word, count in Counter(words(text)).items()})
    title = "".join(re.findall(r"^# (.+)$", text, re.MULTILINE)[:1])
    description = "".join(re.findall(r"^description: (.+)$", text[:1000], re.MULTILINE))
    headings = re.findall(r"^##+ (.+)$", text, re.MULTILINE)
    for part, weight in ((title, 12), (description, 6), *((heading, 2) for heading in headings)):
        found.update(dict.fromkeys(set(words(part)), weight))
    return found


def best(query: str) -> list[str]:
    pages = index()
    rare = {
        word: math.log(len(pages) / (1 + sum(word in page for page in pages.values()))) + 0.1 for word in words(query)
    }
    score = {name: sum(rare[word] * min(page[word], 20) for word in rare) for name, page in pages.items()}
    return sorted(score, key=lambda name: -score[name])[:3]


@pytest.mark.parametrize("query", SEARCHES)
def test_a_search_leads_to_its_page(query: str) -> None:
    assert SEARCHES[query] in best(query), best(query)


@pytest.mark.parametrize("query", SEARCHES)
def test_the_page_has_all_the_words_in_one_section(query: str) -> None:
    """As the search of the site wants it."""
    page = (stage.ROOT / f"docs/{SEARCHES[query]}.md").read_text()
    sections = [set(words(section)) for section in re.split(r"^##+ ", page, flags=re.MULTILINE)]
    missing = min((set(words(query)) - section for section in sections), key=len)
    assert not missing
