"""Reads an export with programs that need torch: ``foreign.py FOLDER READER ...``; prints what they found as JSON."""

import contextlib
import hashlib
import json
import re
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


def main(folder: Path, readers: list[str]) -> dict[str, Any]:
    """Let each reader read."""
    found: dict[str, Any] = {}
    for reader in readers:
        name, _, more = reader.partition(":")
        found |= {"card": card, "open_clip": open_clip, "mds": mds}[name](folder, more)
    return found


def card(folder: Path, _: str) -> dict[str, Any]:
    """Run each snippet of the card, and go through what it made."""
    found = {}
    for block in re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL):
        names: dict[str, Any] = {"DATASET": str(folder)}
        exec(block, names)
        library = re.findall(r"(?:import|from) (\w+)", block)[0]
        samples = names["table"].fetchall() if "table" in names else list(finite(names["dataset"]))
        found[library] = told(samples)
    return found


def finite(dataset: Any) -> Iterable[Any]:
    """Go through a data set once: energon's are iterated without end, and wids' by number."""
    if type(dataset).__module__.startswith("wids"):
        return (dataset[number] for number in range(len(dataset)))
    if type(dataset).__module__.startswith("megatron"):
        return (sample for sample, _ in zip(dataset, range(len(dataset)), strict=False))
    return dataset


def told(samples: list[Any]) -> dict[str, Any]:
    """Say how many there are, and what their pictures and prompts are."""
    pictures = [picture for picture in map(picture_of, samples) if picture is not None]
    texts = [text for sample in samples for text in (getattr(sample, "caption", None) or []) if isinstance(text, str)]
    hashes = [hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest() for picture in pictures]
    return {"count": len(samples), "pixels": hashes, "texts": texts}


def picture_of(sample: Any) -> "np.ndarray | None":
    """Find a sample's picture as uint8 (height, width, 3)."""
    if isinstance(sample, dict):
        image = next((sample[name] for name in (".png", "png") if name in sample), None)
    elif isinstance(sample, tuple):
        image = sample[0] if hasattr(sample[0], "convert") else None
    else:
        image = getattr(sample, "image", None)
    if image is None:
        return None
    if hasattr(image, "convert"):
        return np.asarray(image.convert("RGB"))
    pixels = np.asarray(image).reshape(np.asarray(image).shape[-3:])
    return (pixels.transpose(1, 2, 0) * 255).round().astype(np.uint8)


def open_clip(folder: Path, _: str) -> dict[str, Any]:
    """Load one epoch with open_clip's own loader, of the tars that the card names."""
    from open_clip_train import data as loaders

    # The webdataset that it asks for, up to 0.2.86, yields no marks at the ends of shards.
    loaders.tar_file_expander = partial(loaders.tar_file_expander, eof_value=None)
    pattern = re.findall(r"--train-data 'DATASET/(.*?)'", (folder / "README.md").read_text())[0]
    asked = SimpleNamespace(
        train_data=f"{folder}/{pattern}",
        train_num_samples=None,
        train_data_upsampling_factors=None,
        dataset_resampled=False,
        seed=0,
        batch_size=1,
        workers=1,
        world_size=1,
    )
    data = loaders.get_wds_dataset(asked, lambda image: np.asarray(image), True, tokenizer=lambda text: [text])
    pictures = [np.asarray(images[0]) for images, _ in data.dataloader]
    hashes = [hashlib.sha256(np.ascontiguousarray(one).tobytes()).hexdigest() for one in pictures]
    return {"open_clip": {"count": data.dataloader.num_samples, "pixels": hashes}}


def mds(folder: Path, run: str) -> dict[str, Any]:
    """Export a run in MosaicML's format, and read that with its data set."""
    from jobs.export.__main__ import main as export

    with contextlib.redirect_stdout(sys.stderr):
        export([run, str(folder), "format=mds"])
    from streaming import StreamingDataset

    samples = list(StreamingDataset(local=str(folder / "train"), batch_size=1, shuffle=False))
    return {"mds": {"sha256": {one["key"]: hashlib.sha256(one["png"]).hexdigest() for one in samples}}}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        result = main(Path(sys.argv[1]), sys.argv[2:])
    print(json.dumps(result))
