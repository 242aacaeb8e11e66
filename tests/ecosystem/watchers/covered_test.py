"""What pytest-cov is to see: a handler that runs in a worker."""

import http.client

from plain_app import app


def test_home() -> None:
    server = app.start(block=False, bind="127.0.0.1:0", workers=2)
    try:
        connection = http.client.HTTPConnection(server.addresses[0].removeprefix("http://"))
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        server.stop()
