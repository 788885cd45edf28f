"""Makes samples of a finished shard again, and compares them with what is in its tar."""

import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from jobs.base.differences import differences
from jobs.base.errors import BadInput
from jobs.dataset.layout import Sample
from jobs.dataset.parameters import parameters_text
from jobs.dataset.record import sample_json
from jobs.execute.worker import common_of, load
from jobs.media.fidelity import psnr
from jobs.media.video import read_clip
from jobs.model.load import set_tiling
from jobs.model.pipeline import BatchPipeline, Failure
from jobs.run.devices import worker_devices
from jobs.run.identity import changes
from jobs.run.resolve import resolve
from jobs.run.retry import pass_of
from jobs.run.run import Run
from jobs.store.rundir import RunDir


@dataclass(frozen=True)
class Remade:
    """A sample made again.

    Attributes:
        key: of the sample.
        media: the file's contents; empty where it failed again.
        same: whether these are the bytes in the tar, of media and json.
        said: one line for the user.
    """

    key: str
    media: bytes
    same: bool
    said: str


def open_finished(directory: RunDir, placed: dict[str, str]) -> Run:
    """Return a run as its directory records it.

    Args:
        directory: the run's.
        placed: options whose values depend on the place, such as prompt_file and device.

    Raises:
        BadInput: there is no run, or what it needs is not there any more or is other than it was.
    """
    path = directory.path
    record = directory.read()
    try:
        cfg = OmegaConf.create((path / "config.yaml").read_text())
    except (OSError, OmegaConfBaseException):
        raise BadInput(f"{path / 'config.yaml'} cannot be read: restore it") from None
    then = record["identity"]
    base = str(path.absolute().parent)
    place = {
        "output_base_path": directory.url.rpartition("/")[0] or base,
        "work_path": base if directory.url else None,
        "exp_name": path.absolute().name,
        "total_prompt_num": then["prompts"]["count"],  # the file may have more by now
    }
    for name, value in {**place, **placed}.items():
        OmegaConf.update(cfg, name, value)
    assert isinstance(cfg, DictConfig)  # for so it was written
    run = resolve(cfg, pin=True)
    if "retry" in then:
        run = pass_of(run, directory, tuple(then["retry"]["samples"]))
    if said := changes(then, run.identity, run.layout, None):
        raise BadInput(f"{directory.name} cannot be made again from what is here: {'; '.join(said)}")
    run.checkpoint.check()
    return run


def remake(run: Run, keys: Iterable[str]) -> Iterator[Remade]:
    """Make each sample again, in the batch that it was made in.

    Raises:
        BadInput: a key is of no finished sample.
    """
    wanted = [find_sample(run, key) for key in keys]
    device = worker_devices(replace(run.options, ngpu=1, parallel=type(run.options.parallel)()))[0][0]
    pipeline = load(run, device, None)
    common = common_of(run, pipeline, device)
    for sample, recorded in wanted:
        yield _compare(run, pipeline, common, sample, recorded)


def find_sample(run: Run, key: str) -> tuple[Sample, dict[str, bytes]]:
    """Return a sample of a finished shard, and its members in the tar by extension; none of one that was given up.

    Raises:
        BadInput: the key is of no such sample.
    """
    layout = run.layout
    numbers = re.fullmatch(rf"{re.escape(layout.key_prefix)}(\d+)_(\d+)", key)
    prompt, repeat = map(int, numbers.groups()) if numbers else (-1, -1)
    if not (0 <= prompt < len(layout.table) and repeat < layout.samples_per_prompt):
        raise BadInput(f"{run.directory.name} has no sample {key}: keys look like {layout.sample(0).key}")
    sample = layout.sample(layout.numbering.of(prompt, repeat))
    shard = layout.shard_of(sample.index)
    if shard is None:
        raise BadInput(f"{run.directory.name} is a pass over failed samples, and {sample.key} is none: name the run")
    if not run.directory.is_done(shard):
        raise BadInput(f"sample {key} is in shard {shard}, which is not done: finish it first, with the run's command")
    members = {}
    with run.directory.open_tar(shard) as tar, tarfile.open(fileobj=tar, mode="r:") as archive:
        for member in archive:
            stem, _, extension = member.name.partition(".")
            if stem == sample.key and (file := archive.extractfile(member)):
                members[extension] = file.read()
    return sample, members


def _compare(
    run: Run, pipeline: BatchPipeline, common: dict[str, Any], sample: Sample, recorded: dict[str, bytes]
) -> Remade:
    info = json.loads(recorded.get("json", b"{}"))
    shard = run.layout.shard_of(sample.index)
    assert shard is not None  # for it was found
    batch = next(batch for batch in run.layout.batches(shard) if sample in batch)
    if info:  # its batch may have failed, and it was made alone; or was too large for the memory
        first = batch.index(sample) - info["batch_position"]
        batch = batch[first : first + info["batch"]]
    tiled = info.get("vae_tiling", common["vae_tiling"])
    if tiled != common["vae_tiling"]:
        set_tiling(pipeline.pipeline, tiled)
    try:
        result = pipeline(batch)[batch.index(sample)]
    finally:
        if tiled != common["vae_tiling"]:
            set_tiling(pipeline.pipeline, common["vae_tiling"])
    common = {**common, "vae_tiling": tiled}
    if isinstance(result, Failure):
        return Remade(sample.key, b"", not recorded, f"{sample.key}: failed: {result.reason}")
    text = parameters_text(sample, model=common["model"], sampler=common["scheduler"]) if run.media.parameters else ""
    media = run.media.encode(result.media, text)
    now = json.loads(sample_json(sample, common, result.how, shard=shard, fps=run.media.fps))
    if not recorded:
        return Remade(sample.key, media, False, f"{sample.key}: was given up, and could be made now")
    then = recorded[run.media.name]
    other = differences(info, now)
    if media == then and not other:
        return Remade(sample.key, media, True, f"{sample.key}: same bytes")
    how = "same media" if media == then else f"other media, PSNR {psnr(_pixels(run, media), _pixels(run, then)):.1f} dB"
    return Remade(sample.key, media, False, f"{sample.key}: {'; '.join([how, *other])}")


def _pixels(run: Run, data: bytes) -> np.ndarray:
    return read_clip(data) if run.makes_clips else np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
