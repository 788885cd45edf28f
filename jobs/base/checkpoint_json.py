"""Reads the json files of a checkpoint, which come from anywhere: what is not as it must be counts as not there.

Whoever then lacks something says so (``jobs.model.checkpoint.missing_part``), before anything is loaded.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

INDEX = "model_index.json"
# Parts that are lists in any index; what else is none is a setting of the pipeline itself.
_PARTS = re.compile(r"scheduler|unet|vae|(text_encoder|tokenizer|transformer)(_\d)?")


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
    and class, both null for one that the pipeline goes without; a list among the settings of a pipeline is a tuple.
    """
    index = {name: value for name, value in read_json(folder / INDEX).items() if value is not None}
    if not isinstance(index.get("_class_name"), str | list):
        return {}
    for name, value in index.items():
        if name.startswith("_") or _is_pair(value):
            continue
        if _PARTS.fullmatch(name):
            return {}
        if isinstance(value, list):
            index[name] = tuple(value)
    return index


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(one is None or isinstance(one, str) for one in value)


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
