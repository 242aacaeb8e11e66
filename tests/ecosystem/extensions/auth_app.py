"""quart-auth: a user that is known by a signed cookie, to every worker."""

from quart_auth import AuthUser, QuartAuth, current_user, login_required, login_user

from aeros import WebServer

app = WebServer(__name__)
app.secret_key = "the same in each worker"
QuartAuth(app, cookie_secure=False)


@app.get("/login")
async def login() -> dict[str, object]:
    login_user(AuthUser("ann"))
    return {"right": True}


@app.get("/secret")
@login_required
async def secret() -> dict[str, object]:
    return {"user": current_user.auth_id}


@app.get("/")
async def home() -> dict[str, object]:
    return {"right": not await current_user.is_authenticated}
