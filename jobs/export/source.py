"""The runs of an export: which shards of them are done, whether they go together, and how their keys are told apart."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from jobs.base.differences import differences
from jobs.base.errors import BadInput
from jobs.export.trouble import reading
from jobs.store.passes import is_hopeless
from jobs.store.rundir import RunDir

VIDEO = "mp4"
_MERGED = "runs that are exported together must"


@dataclass(frozen=True)
class Shard:
    """A finished shard.

    Attributes:
        directory: the run's, or that of a pass over its failed samples (``jobs.run.retry``).
        number: which of its shards it is.
        name: tells it from the run's other ones: ``3``, or ``retry-1/3``.
        sha256: of the tar, as the done record says.
        size: bytes of the tar.
        copy: where the tar of a run in a store is brought to; None where it lies in its run's directory.
    """

    directory: RunDir
    number: int
    name: str
    sha256: str
    size: int
    copy: Path | None = None

    @property
    def tar(self) -> Path:
        """Where its samples are read from."""
        return self.copy or self.directory.tar(self.number)

    @property
    def of_later_pass(self) -> bool:
        """Whether its samples were given up before."""
        return "/" in self.name


@dataclass(frozen=True)
class SourceRun:
    """A run that is exported.

    Attributes:
        directory: where it lies.
        record: its run.json.
        shards: what is exported of it, its own shards first, then those of each pass over its failed samples.
        prefix: what is put before each key.
    """

    directory: RunDir
    record: dict[str, Any]
    shards: tuple[Shard, ...]
    prefix: str = ""

    @property
    def name(self) -> str:
        """The run's name, as the json of its samples has it."""
        return str(self.record["name"])

    @property
    def run_id(self) -> str:
        """What tells it from other runs of that name."""
        return str(self.record["id"])

    @property
    def extension(self) -> str:
        """The kind of its images or clips."""
        return str(self.record["identity"].get("image_format", VIDEO))

    def unmade(self) -> int:
        """Return how many of its samples are in no shard that is exported: none, unless it is exported in part."""
        here = {shard.number for shard in self.shards if not shard.of_later_pass}
        return sum(self.directory.shard_samples(one) for one in range(self.record["shards"]) if one not in here)

    def described(self) -> dict[str, Any]:
        """Return what decides the bytes that come of it, in json types."""
        text = "".join(f"{shard.name}:{shard.sha256}\n" for shard in self.shards)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return {"name": self.name, "id": self.run_id, "shards": len(self.shards), "sha256": digest}


def open_runs(directories: Sequence[RunDir], *, partial: bool, copies: Path) -> list[SourceRun]:
    """Read what the runs recorded of themselves; they come back in an order of their own, by name and id.

    Args:
        directories: theirs.
        partial: whether they may be unfinished.
        copies: the folder that tars of runs in stores are brought to.

    Raises:
        BadInput: a directory is no run, a run is not finished, or they cannot be merged.
    """
    runs = sorted((_open(one, partial, copies) for one in directories), key=lambda run: (run.name, run.run_id))
    _check_alike(runs)
    prefixes = key_prefixes([(run.name, run.run_id, run.record["identity"].get("key_prefix")) for run in runs])
    return [
        SourceRun(run.directory, run.record, run.shards, prefix) for run, prefix in zip(runs, prefixes, strict=True)
    ]


def key_prefixes(runs: Sequence[tuple[str, str, str | None]]) -> list[str]:
    """Return what to put before the keys of each of several runs: nothing where no two of them could have a key alike.

    Args:
        runs: name, id and key_prefix of each.
    """
    own = [prefix or "" for _, _, prefix in runs]
    pairs = [(one, other) for place, one in enumerate(own) for other in own[:place] + own[place + 1 :]]
    if not any(re.fullmatch(r"\d*", one.removeprefix(other)) for one, other in pairs if one.startswith(other)):
        return [""] * len(runs)
    names = [re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "run" for name, _, _ in runs]
    again = Counter(names)
    return [
        f"{name}-" if again[name] == 1 else f"{name}-{run_id[:8]}-"
        for name, (_, run_id, _) in zip(names, runs, strict=True)
    ]


def _open(directory: RunDir, partial: bool, copies: Path) -> SourceRun:
    record, name = directory.read(), directory.name
    if "retry" in record["identity"]:
        of = directory.above()
        raise BadInput(f"{name} is a pass over failed samples of {of}: name that run, it brings them along")
    if "scorer" in record["identity"]:
        raise BadInput(f"{name} holds scores of {directory.above(2)}: name that run, it brings them along")
    copies /= str(record["id"])
    done = _done(directory, record, "", copies)
    if not done:
        raise BadInput(f"{name} has no finished shard yet: there is nothing to export")
    left = [shard for shard in range(record["shards"]) if shard not in {one.number for one in done}]
    if not partial:
        _check_whole(directory, record, left, "the command that began it")
    for one in directory.retries():
        its = one.read()
        if not partial:
            _check_whole(one, its, _unfinished_pass(one, its), "retry_failed=true")
        done += _done(one, its, f"{one.path.name}/", copies)
    return SourceRun(directory, record, tuple(done))


def _done(directory: RunDir, record: dict[str, Any], prefix: str, copies: Path) -> list[Shard]:
    left = {*directory.unfinished(record["shards"])}
    found = []
    for number in (shard for shard in range(record["shards"]) if shard not in left):
        tar = directory.tar(number)
        copy = copies / prefix / tar.name if directory.url else None
        found.append(Shard(directory, number, f"{prefix}{number}", *_tar_record(directory, number), copy))
    return found


def _unfinished_pass(directory: RunDir, record: dict[str, Any]) -> list[int]:
    """Return the shards of a pass of which something may still come."""
    samples, size = record["identity"]["retry"]["samples"], record["shard_size"]
    config = directory.path / "config.yaml"
    try:
        with reading(config):
            attempts = int(yaml.safe_load(config.read_text())["sample_attempts"])
    except (FileNotFoundError, yaml.YAMLError, KeyError, TypeError, ValueError):
        raise BadInput(f"{config} cannot be read: restore it") from None
    return [
        shard
        for shard in directory.unfinished(record["shards"])
        if not is_hopeless(directory, shard, samples[shard * size : (shard + 1) * size], attempts)
    ]


def _check_whole(directory: RunDir, record: dict[str, Any], left: list[int], how: str) -> None:
    if left:
        samples = sum(directory.shard_samples(shard) for shard in left)
        raise BadInput(
            f"{directory.name} is not finished: {len(left)} of {record['shards']} shards ({samples} of "
            f"{record['samples']} samples) are missing: finish it with {how}, or add partial=true to export the rest"
        )


def _tar_record(directory: RunDir, shard: int) -> tuple[str, int]:
    """Return sha256 and bytes of a done shard's tar."""
    path = directory.done_record(shard)
    try:
        with reading(path):
            record = json.loads(path.read_text())
        return str(record["sha256"]), int(record["bytes"])
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{path} is not a whole done record: delete it and finish the run to make it again") from None
    except FileNotFoundError:
        raise BadInput(f"{path} went away meanwhile, since the run has more prompts: finish the run first") from None


def _check_alike(runs: Sequence[SourceRun]) -> None:
    first = runs[0]
    for earlier, run in pairwise(runs):
        if (run.name, run.run_id) == (earlier.name, earlier.run_id):
            where = f"{earlier.directory.name} and {run.directory.name}"
            raise BadInput(f"{where} are one run, or the same with more prompts: name one of them")
    for run in runs[1:]:
        if run.extension != first.extension:
            raise BadInput(
                f"{first.directory.name} has {first.extension} and {run.directory.name} has {run.extension} files: "
                f"{_MERGED} be of one kind, so export them apart"
            )


def export_differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return how two exports differ, as ``name was A, is B``."""
    before, after = ({**one, "runs": {run["name"] + " " + run["id"]: run for run in one["runs"]}} for one in (old, new))
    gone, come = before["runs"].keys() - after["runs"].keys(), after["runs"].keys() - before["runs"].keys()
    said = [f"run {name.split()[0]} is not among its runs" for name in sorted(come)]
    said += [f"run {name.split()[0]} is among its runs" for name in sorted(gone)]
    return said or differences(before, after)
