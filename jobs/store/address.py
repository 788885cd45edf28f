"""Addresses of stores, and which library reads each kind of them."""

from typing import Any

from jobs.base.errors import BadInput
from jobs.options.fields import shown

# What has to be installed, our extra that has it, arguments of the file system, and of its ``put_file``: some 250 MB
# are under way at most.
KINDS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "s3": ("s3fs", "s3", {"max_concurrency": 2, "use_listings_cache": False}, {"chunksize": 16 << 20}),
    "gs": ("gcsfs", "gcs", {"use_listings_cache": False}, {"chunksize": 16 << 20}),
    "file": ("fsspec", "s3", {"auto_mkdir": True}, {}),
}


def check_address(url: str, option: str) -> str:
    """Return which kind of store an address is of.

    Args:
        url: the address.
        option: by which the user gave it.

    Raises:
        BadInput: it is none.
    """
    kind, _, path = url.partition("://")
    if kind not in KINDS or not path.strip("/"):
        form = "s3://bucket/folder, gs://bucket/folder or file:///folder"
        raise BadInput(f"{option} must be an address like {form}, not {shown(url)}")
    return kind


def open_address(url: str, option: str) -> tuple[Any, str, dict[str, Any]]:
    """Return the file system of a store, what its folder is called there, and the arguments of its ``put_file``.

    Args:
        url: the address.
        option: by which the user gave it.

    Raises:
        BadInput: it is none, or what reads it is not installed.
    """
    library, extra, options, put = KINDS[check_address(url, option)]
    try:
        from fsspec.core import url_to_fs

        file_system, root = url_to_fs(url.rstrip("/"), skip_instance_cache=True, **options)
    except ImportError:
        raise BadInput(
            f"{option}={url} needs {library}: pip install {library}, or this project with its extra {extra}"
        ) from None
    return file_system, root, put
