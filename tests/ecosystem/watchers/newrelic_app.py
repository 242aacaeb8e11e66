"""For newrelic-admin run-program: New Relic knows no Quart, so the app is wrapped by name."""

import newrelic.agent

from aeros import WebServer

app = WebServer(__name__)
app.asgi_app = newrelic.agent.ASGIApplicationWrapper(app.asgi_app)


@app.route("/")
async def home() -> dict[str, object]:
    newrelic.agent.set_transaction_name("home")
    return {"right": newrelic.agent.current_transaction() is not None}
