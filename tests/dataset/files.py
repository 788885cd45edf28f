"""What tests of prompt files share: writing small ones, and reading them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.dataset.prompt_files import read_prompts
from jobs.dataset.prompts import PromptTable
from jobs.dataset.source import PromptSource


def write(folder: Path, name: str, content: Any) -> Path:
    """A prompt file: bytes or text as they are, for parquet a dict of columns; packed where it is called ``.gz``."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        pq.write_table(pa.table(content), path)
    else:
        data = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(data) if name.lower().endswith(".gz") else data)
    return path


def lines(*rows: dict[str, Any]) -> str:
    return "\n".join(json.dumps(row) for row in rows) + "\n"


def read(path: Path | str, limit: int | None = None, **how: Any) -> PromptTable:
    """Read a list, ``how`` being attributes of its ``PromptSource``."""
    return read_prompts(PromptSource(str(path), **how), limit)
