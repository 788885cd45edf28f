"""An S3 server on this machine, in a process of its own: moto's."""

import os
import socket
import subprocess
import sys
import time
from pathlib import PurePosixPath
from typing import Any

BUCKET = "exports"
_PATIENCE = 60.0  # seconds until it answers


def environment(port: int) -> dict[str, str]:
    """Return the variables that lead clients to a server on this machine, and to nothing of its user's."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


class S3:
    """A server with an empty bucket, as long as the block lasts."""

    def __enter__(self) -> "S3":
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        words = [sys.executable, "-m", "moto.server", "-p", str(self._port)]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.__exit__()
                    raise
                time.sleep(0.1)
        self._files().mkdir(BUCKET)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def environment(self) -> dict[str, str]:
        """What leads clients here."""
        return environment(self._port)

    def files(self, folder: str) -> dict[str, bytes]:
        """Return path -> contents of every object below a folder of the bucket."""
        root = f"{BUCKET}/{folder}"
        store = self._files()
        return {str(PurePosixPath(path).relative_to(root)): store.cat_file(path) for path in store.find(root)}

    def _files(self) -> Any:
        import s3fs

        where = self.environment
        return s3fs.S3FileSystem(
            key=where["AWS_ACCESS_KEY_ID"],
            secret=where["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=where["AWS_ENDPOINT_URL"],
            use_listings_cache=False,
            skip_instance_cache=True,
        )
