"""boto3: the client at import, a plain `def` handler, since it blocks."""

import os

import boto3
from botocore.config import Config

from aeros import WebServer

settings = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=5)
client = boto3.client(
    "sqs",
    region_name="eu-central-1",
    endpoint_url=f"http://{os.environ['SINK']}",
    aws_access_key_id="a",
    aws_secret_access_key="b",
    config=settings,
)
app = WebServer(__name__)


@app.route("/")
def home() -> dict[str, object]:
    answer = client.list_queues()
    return {"right": answer["ResponseMetadata"]["HTTPStatusCode"] == 200}
