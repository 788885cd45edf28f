"""An S3 server on the loopback interface, whose requests can be counted, refused, garbled, or end whoever asks."""

import io
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from tools.benchmarks.export.s3 import environment

BUCKET = "bucket"
SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


class S3:
    """Moto's server.

    Attributes:
        requests: (method, path) of each request but those of the set-up.
        before: asked before each request, with method and path; True: it is refused with ``SlowDown``.
        forbid: method -> whether the client may not.
        garble: contents sent -> contents stored.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.before: Callable[[str, str], bool | None] = lambda method, path: None
        self.forbid: Callable[[str], bool] = lambda method: False
        self.garble: Callable[[str, bytes], bytes] = lambda path, data: data
        self._one = threading.Lock()  # moto reads what another request has just replaced; S3 does not
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        """What leads clients here."""
        return environment(self._server.server_port)

    @property
    def puts(self) -> list[str]:
        """Keys of the objects that were sent, in order."""
        return [path.split("/", 2)[2] for method, path in self.requests if method == "PUT"]

    def client(self) -> Any:
        """A client of its own, which is not counted."""
        import boto3

        where = self.environment
        return boto3.client(
            "s3",
            endpoint_url=where["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id="setup",
            aws_secret_access_key="setup",
        )

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Keys of the objects there."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Key below the prefix -> contents."""
        client = self.client()
        return {
            key.removeprefix(prefix): client.get_object(Bucket=bucket, Key=key)["Body"].read()
            for key in self.keys(bucket, prefix)
        }

    def deaths(self, begin: Callable[[], BaseProcess], stride: int) -> Iterator[int]:
        """Begin a process again and again until one comes through; kill each before a request, a few further on.

        Args:
            begin: starts it.
            stride: requests further on.

        Yields:
            How many were killed, after each.
        """
        process: BaseProcess | None = None
        step = 1

        def deadly(method: str, path: str) -> None:
            if process and process.pid and len(self.requests) == step:
                os.kill(process.pid, signal.SIGKILL)

        self.before = deadly
        for killed in itertools.count(1):
            self.requests.clear()
            process = begin()
            process.join()
            if process.exitcode == 0:
                return
            assert process.exitcode == -signal.SIGKILL
            process, step = None, step + stride
            yield killed

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if "setup" not in environ.get("HTTP_AUTHORIZATION", ""):
            self.requests.append((method, path))
            length = int(environ.get("CONTENT_LENGTH") or 0)
            data = environ["wsgi.input"].read(length) if length else b""
            if self.forbid(method):
                return self._refuse(start_response, "403 Forbidden", b"" if method == "HEAD" else DENIED)
            if self.before(method, path):
                return self._refuse(start_response, "503 Slow Down", b"" if method == "HEAD" else SLOW_DOWN)
            if len(data) < length:  # the client is gone: S3 keeps nothing of it, and moto what came
                return self._refuse(start_response, "400 Bad Request", b"<Error><Code>IncompleteBody</Code></Error>")
            if method == "PUT":
                data = self.garble(path, data)
            if length:
                environ |= {"wsgi.input": io.BytesIO(data), "CONTENT_LENGTH": str(len(data))}
        with self._one:
            return [b"".join(self._moto(environ, start_response))]

    def _refuse(self, start_response: Any, status: str, body: bytes) -> list[bytes]:
        start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]
