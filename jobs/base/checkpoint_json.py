"""Reads the json files of a checkpoint, which come from anywhere: what is not as it must be counts as not there.

Whoever then lacks something says so (``jobs.model.checkpoint.missing_part``), before anything is loaded.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

INDEX = "model_index.json"
# What names of a pipeline's parts begin with; other entries of an index are settings of the pipeline itself.
_PARTS = ("scheduler", "text_encoder", "tokenizer", "transformer", "unet", "vae")


def read_json(file: Path) -> dict[str, Any]:
    """Return what a json file holds; nothing where it cannot be read, or holds something else than a mapping."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_index(folder: Path) -> dict[str, Any]:
    """Return a pipeline's ``model_index.json``, without entries that are null; nothing where it is not such a file.

    ``_class_name`` is a text, or a list that names a class of the checkpoint's own. Each part is a list of two, library
    and class, both null for one that the pipeline goes without.
    """
    index = {name: value for name, value in read_json(folder / INDEX).items() if value is not None}
    named = isinstance(index.get("_class_name"), str | list)
    return index if named and all(map(_fits, index.items())) else {}


def _fits(entry: tuple[str, Any]) -> bool:
    name, value = entry
    if name.startswith("_"):
        return True
    if isinstance(value, list):
        return len(value) == 2 and all(one is None or isinstance(one, str) for one in value)
    return not isinstance(value, dict) and not name.startswith(_PARTS)


def text_encoders(parts: Iterable[str]) -> list[str]:
    """Return which of a pipeline's parts, by their names, are text encoders."""
    return [name for name in parts if name.startswith("text_encoder")]


def read_shards(file: Path) -> list[str]:
    """Return the names of the files that an index of weights lists, in order; none where it lists none."""
    listed = read_json(file).get("weight_map")
    names = set(listed.values()) if isinstance(listed, dict) and all(map(_is_name, listed.values())) else set()
    return sorted(names)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
