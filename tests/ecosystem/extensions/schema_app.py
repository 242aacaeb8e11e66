"""quart-schema: a request that is checked, and the document of the API."""

from pydantic import BaseModel
from quart import request
from quart_schema import QuartSchema, validate_querystring

from aeros import WebServer

app = WebServer(__name__)
QuartSchema(app)


class Query(BaseModel):
    number: int = 7


@app.get("/")
@validate_querystring(Query)
async def home(query_args: Query) -> dict[str, object]:
    bad = await app.test_client().get("/?number=x") if not request.args else None
    return {"right": query_args.number == 7 and (bad is None or bad.status_code == 400)}
