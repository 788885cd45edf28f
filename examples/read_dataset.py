"""Read what a run leaves: ``python examples/read_dataset.py outputs/demo-shapes``."""

import sys
from pathlib import Path

import webdataset

shards = sorted(map(str, Path(sys.argv[1]).glob("data/*.tar")))
for sample in webdataset.WebDataset(shards, shardshuffle=False).decode("pil"):
    info = sample["json"]
    print(sample["__key__"], info["seed"], f"{info['evaluated_steps']} steps evaluated", sample["txt"], sep="  ")
