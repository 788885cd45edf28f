"""Everything between a composed config and the first model loaded: checks, plan, run directory, what is left."""

import os
import shutil
import time
from dataclasses import dataclass, replace

from omegaconf import DictConfig, OmegaConf, open_dict

from jobs.errors import BadInput
from jobs.options import Options, identity, make_plan, read_options
from jobs.plan import Plan, parse_shards
from jobs.rundir import RunDir
from jobs.weights import find_weights

# Bytes a pixel (of clips: a pixel of a frame) of the smallest files each format makes: refuse what surely cannot fit.
LEAST_BYTES = {"png": 0.05, "jpg": 0.03, "webp": 0.01, "mp4": 0.0005}


@dataclass(frozen=True)
class Prepared:
    """A run that has passed every check and exists on disk."""

    options: Options
    plan: Plan
    run: RunDir

    def unfinished(self) -> list[int]:
        """Shards this command is for: not done, and among ``shards=`` where that was given."""
        left = self.run.unfinished(self.plan.num_shards)
        if self.options.shards is not None:
            asked = set(parse_shards(self.options.shards, self.plan.num_shards))
            left = [shard for shard in left if shard in asked]
        return left


def prepare(cfg: DictConfig) -> Prepared:
    """Check the config, plan the run and open its directory, without writing anything or looking at the weights.

    Raises:
        BadInput: anything a user can mend, in one sentence.
    """
    options = read_options(cfg)
    plan = make_plan(options)
    run = RunDir(options.run_path)
    if run.exists():
        options = _pin_revision(options, run)
        run.check(identity(options, plan))
    prepared = Prepared(options, plan, run)
    if options.dry_run:
        return prepared
    _check_writable(options)
    left = len(prepared.unfinished())  # also refuses shards= out of range
    _check_space(options, left * options.shard_size)
    return prepared


def _pin_revision(options: Options, run: RunDir) -> Options:
    """Go on with the commit a run began with, although the branch it was asked for by may mean another one by now."""
    record = run.read()
    recorded = record["identity"]["model"]
    same = options.model["path"] == recorded.get("path") and options.model["revision"] == record.get("revision_asked")
    if options.weights.local or not same:
        return options
    return replace(options, weights=find_weights(options.model["path"], recorded["revision"]))


def create(prepared: Prepared, cfg: DictConfig) -> None:
    """Write the run's records if this command is its first.

    Raises:
        BadInput: the directory cannot be made.
    """
    options, plan, run = prepared.options, prepared.plan, prepared.run
    if run.exists():
        run.check(identity(options, plan))
        return
    cfg = cfg.copy()
    with open_dict(cfg):
        cfg.pop("hydra", None)
    record = {
        "identity": identity(options, plan),
        "revision_asked": options.model["revision"],
        "samples": plan.num_samples,
        "shards": plan.num_shards,
        "shard_size": plan.shard_size,
        "created": time.time(),
    }
    try:
        run.create(record, OmegaConf.to_yaml(cfg, resolve=True))
    except OSError as error:
        raise BadInput(f"output_base_path: {run.path} cannot be made: {error.strerror}") from None
    run.check(identity(options, plan))  # another command may have been first


def resolve_devices(options: Options) -> list[list[str]]:
    """The torch devices of each of this machine's workers: one of each rank that shares its samples.

    Raises:
        BadInput: more of them than GPUs (on a CPU: than cores), or what the device cannot do.
    """
    gpus = _visible_gpus(options)
    if gpus:
        kind, there, devices = "GPUs visible", gpus, [f"cuda:{number}" for number in range(options.ngpu)]
    else:
        check_cpu(options)
        kind, there, devices = "cores", len(os.sched_getaffinity(0)), ["cpu"] * options.ngpu
    size = options.parallel.size
    if options.ngpu > there:
        if there < size:
            raise BadInput(
                f"{options.parallel} needs {size} ranks and there are {there} {kind} here: use lower degrees"
            )
        least = there // size * size
        raise BadInput(f"ngpu={options.ngpu} is more than the {there} {kind} here: set ngpu={least} or less")
    return [devices[start : start + size] for start in range(0, options.ngpu, size)]


def task_device(options: Options, number: int) -> str:
    """The torch device of rank ``number`` of the launched ones: Slurm shows a task its own GPUs, other launchers all.

    Raises:
        BadInput: as ``resolve_devices``.
    """
    gpus = _visible_gpus(options)
    if gpus:
        return f"cuda:{number % gpus}"
    check_cpu(options)
    return "cpu"


def _visible_gpus(options: Options) -> int:
    import torch

    gpus = torch.cuda.device_count() if options.device != "cpu" else 0
    if options.device == "cuda" and not gpus:
        raise BadInput("device=cuda, but no GPU is visible here: use device=cpu, or run on a machine with a GPU")
    if options.device == "auto" and options.model["gpus"] and not gpus:
        raise BadInput(
            f"model {options.model['name']} needs a GPU and none is visible here: device=cpu insists on a CPU"
        )
    return gpus


def check_cpu(options: Options) -> None:
    """Refuse what a CPU cannot do: float16, offloading to itself, and ring attention."""
    if options.parallel.ring > 1:
        raise BadInput(
            f"parallel.ring={options.parallel.ring} needs attention kernels that only GPUs have: "
            "use parallel.ulysses on a CPU"
        )
    for name in ("dtype", "vae_dtype"):
        if options.model[name] == "float16":
            raise BadInput(f"model.{name}=float16 does not work on a CPU: use model.{name}=float32 or bfloat16")
    if options.model["offload"] != "none":
        raise BadInput("model.offload keeps weights off a GPU, and there is none: use model.offload=none")


def _check_writable(options: Options) -> None:
    folder = _nearest_existing(options)
    if not folder.is_dir():
        raise BadInput(f"output_base_path: {folder} is a file, not a directory: choose another output_base_path")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInput(f"output_base_path: {folder} is not writable: choose another output_base_path")


def _check_space(options: Options, samples: int) -> None:
    free = shutil.disk_usage(_nearest_existing(options)).free
    pixels = options.height * options.width * options.num_frames
    least = int(samples * pixels * LEAST_BYTES["mp4" if options.makes_clips else options.image_format])
    if free < least:
        raise BadInput(
            f"output_base_path: {options.run_path} needs at least {least / 1e9:.1f} GB for {samples} samples "
            f"and has {free / 1e9:.1f} GB free: free some, or choose another output_base_path"
        )


def _nearest_existing(options: Options):
    folder = options.run_path.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder
