"""The part of the card that says how to read the data set; a test runs what it says."""

import re

from jobs.export.indexes import ENERGON_SPLITS

_ENERGON = """from megatron.energon import WorkerConfig, get_loader, get_train_dataset

config = WorkerConfig(rank=0, world_size=1, num_workers=0)
train = get_train_dataset(
    DATASET, worker_config=config, batch_size=1, shuffle_buffer_size=None, max_samples_per_sequence=None
)
dataset = get_loader(train)"""
_ENERGON_LATER = """from megatron.energon import WorkerConfig, get_loader, get_val_dataset

config = WorkerConfig(rank=0, world_size=1, num_workers=0)
part = get_val_dataset(DATASET, split_part="{part}", worker_config=config, batch_size=1)
dataset = get_loader(part)"""
_WIDS = """import wids

dataset = wids.ShardListDataset(f"{{DATASET}}/{split}-index.json")"""


def reading(form: str, extension: str, paths: dict[str, list[str]], *, energon: bool) -> list[str]:
    """Return paragraphs of Markdown.

    Args:
        form: of ``jobs.options.export.FORMATS``.
        extension: the kind of the images or clips.
        paths: of each split that has some, its files in order.
        energon: whether ``.nv-meta`` is there.
    """
    split = next(iter(paths))
    about = "`DATASET` is the folder that holds this file; for `datasets` also its id on the hub."
    duckdb = _code("import duckdb\n\ntable = duckdb.sql(f\"select * from '{DATASET}/metadata.parquet'\")")
    datasets = _code(f'import datasets\n\ndataset = datasets.load_dataset(DATASET, split="{split}", streaming=True)')
    if form == "mds":
        local = f'local=f"{{DATASET}}/{split}", batch_size=1'
        return [about, _code(f"import streaming\n\ndataset = streaming.StreamingDataset({local})"), duckdb]
    if form != "webdataset":
        return [about, datasets, duckdb]
    images = extension != "mp4"
    pattern = shard_pattern(paths[split])
    parts = [about, _webdataset(paths[split], extension), datasets]
    if images:
        train = f"--dataset-type webdataset --train-data 'DATASET/{pattern}'"
        note = "[open_clip](https://github.com/mlfoundations/open_clip) takes the counts from `sizes.json`:"
        parts.append(f"{note}\n\n```\npython -m open_clip_train.main {train}\n```")
        parts.append(_code(_WIDS.format(split=split)))
    if energon and images:
        parts.append(_code(_ENERGON if split == "train" else _ENERGON_LATER.format(part=ENERGON_SPLITS[split])))
    return [*parts, duckdb]


def shard_pattern(paths: list[str]) -> str:
    """Return what names all files of a split, with braces: ``train/train-{00000..00012}.tar``."""
    if len(paths) == 1:
        return paths[0]
    numbers = [re.fullmatch(r"(.*?)(\d+)(\.\w+)", path) for path in (paths[0], paths[-1])]
    first, last = (match.groups() if match else ("", "", "") for match in numbers)
    if first[0] != last[0]:  # several folders
        return f"{paths[0].partition('/')[0]}/**/*{first[2]}"
    return f"{first[0]}{{{first[1]}..{last[1]}}}{first[2]}"


def _webdataset(paths: list[str], extension: str) -> str:
    pattern = shard_pattern(paths)
    decode = '.decode("pil")' if extension != "mp4" else ""
    shards = f'DATASET + "/{pattern}"'
    lines = ["import webdataset", ""]
    if "*" in pattern:
        lines = ["import glob", "", *lines]
        shards = f"sorted(glob.glob({shards}, recursive=True))"
    lines += [
        f"shards = {shards}",
        f"dataset = webdataset.WebDataset(shards, shardshuffle=False){decode}",
        f'dataset = dataset.to_tuple("{extension}", "txt", "json")',
    ]
    return _code("\n".join(lines))


def _code(text: str) -> str:
    return f"```python\n{text}\n```"
