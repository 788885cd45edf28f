"""The sidecar of a shard: a Parquet file of one row a sample, those that were given up among them.

It says again what a sample is, and beside it what varies between runs and therefore is not in the tar.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from jobs.base.errors import BadInput
from jobs.options.fields import limits_of
from jobs.options.model import SampleOptions

if TYPE_CHECKING:
    import pyarrow

    from jobs.dataset.layout import Layout

OK, FLAGGED, FAILED = "ok", "flagged", "failed"  # what became of a sample: kept, kept with a mark, given up


def sidecar_bytes(layout: "Layout", rows: Mapping[int, dict[str, Any]]) -> bytes:
    """Return the file's contents.

    Args:
        layout: the run's samples.
        rows: sample index -> its journal row, with "status" and "reason".
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    samples = [layout.sample(index) for index in sorted(rows)]
    ordered = [rows[sample.index] for sample in samples]
    text, whole, real = pa.string(), pa.int64(), pa.float64()
    columns = {
        **{name: pa.array([getattr(one, name) for one in samples], text) for name in ("key", "prompt", "id")},
        "sample_index": pa.array([one.index for one in samples], whole),
        **{
            name: pa.array([getattr(one, name) for one in samples], whole)
            for name in ("prompt_index", "repeat", "seed")
        },
        **{
            one.name: pa.array([getattr(sample.options, one.name) for sample in samples], _kind(one.name))
            for one in fields(SampleOptions)
        },
        "seconds": pa.array([row["seconds"] for row in ordered], real),
        **{  # null where the sample was not made with all steps as well
            f"audit_{name}": pa.array([(row.get("audit") or {}).get(name) for row in ordered], real)
            for name in ("psnr", "ssim")
        },
        "adapted": pa.array([row.get("adapted", "") for row in ordered], text),
        "sha256": pa.array([row["media_sha256"] for row in ordered], text),
        **{
            name: pa.array([row[name] for row in ordered], text)
            for name in ("status", "reason", "host", "device", "attempt", "version")
        },
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    return sink.getvalue()


@contextlib.contextmanager
def whole(name: str, mend: str) -> "Iterator[None]":
    """Say in a sentence that a Parquet file which is read meanwhile is not there, or has damaged bytes.

    Of those pyarrow says many things: an exception of its own, an ``OSError`` without a number, a text that is none.

    Args:
        name: where people find it.
        mend: what to do then.

    Raises:
        BadInput: it is missing or torn.
        OSError: the disk does not give it.
    """
    import pyarrow as pa

    try:
        yield
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno and not isinstance(error, FileNotFoundError):
            raise
        raise BadInput(f"{name} is missing or torn: {mend}") from None


def _kind(name: str) -> "pyarrow.DataType":
    import pyarrow as pa

    return {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}.get(
        limits_of(SampleOptions, name).kind, pa.string()
    )
