"""Which app is meant where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from aeros.errors import OptionsError
from aeros.start.app.guess import guess_app


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"app.py": "app = WebServer(__name__)"}, "app:app"),
        ({"main.py": "api = FastAPI()\n"}, "main:api"),
        ({"main.py": "from x import app\n", "wsgi.py": "application = quart.Quart('x')"}, "wsgi:application"),
        ({"app.py": "x = 1\n", "asgi.py": "application = get_asgi_application()"}, "asgi:application"),
        ({"app.py": "def create_app(config=None):\n    return Quart('x')"}, "app:create_app()"),
        ({"app/__init__.py": "def create_app(): ..."}, "app:create_app()"),
        ({"app/__init__.py": "", "app/main.py": "app: FastAPI = FastAPI()"}, "app.main:app"),
        ({"main.py": "async def app(scope, receive, send):\n    pass"}, "main:app"),
        ({"app.py": "app = make()\n"}, "app:app"),
        ({"app.py": "app = Quart(__name__)\ndef broken(:\n"}, "app:app"),
        ({"shop.py": "shop = Starlette(routes)\n", "other.py": "app = 3"}, "shop:shop"),
        ({"main.py": "other = Quart('a')\napp = Quart('b')\n"}, "main:app"),
    ],
)
def test_the_app_of_a_folder(tmp_path: Path, files: dict[str, str], name: str) -> None:
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    assert guess_app(str(tmp_path)) == name


def test_none_and_several_are_said(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match=r"none is found in .*: say module:app"):
        guess_app(str(tmp_path))
    (tmp_path / "shop.py").write_text("a = Quart('a')\n")
    (tmp_path / "blog.py").write_text("b = Quart('b')\n")
    with pytest.raises(OptionsError, match="several apps here, say which: blog:b, shop:a"):
        guess_app(str(tmp_path))
