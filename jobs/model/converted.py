"""Checkpoints converted once to a run's dtype, in the cache of this user: ``python -m jobs.download ... --convert``.

Weights that are stored in the dtype in which they are used are not copied: the processes of a machine share the pages
of the files. What is stored in another one is converted by each of them, into memory of its own.
"""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from jobs.base.checkpoint_json import read_json
from jobs.base.disk import cache_folder, human_bytes
from jobs.base.errors import BadInput
from jobs.model.checkpoint import EMBEDDED, Checkpoint
from jobs.model.files import bytes_by_dtype
from jobs.model.weights import weight_bytes, weight_files
from jobs.options.model import ModelOptions

RECORD = "converted.json"

_NAMES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}  # as files of weights have them
_STORED = ("F64", *_NAMES.values())
_WEIGHTS = (".safetensors", ".bin", ".index.json", ".msgpack", ".h5", ".onnx", ".pt")

log = logging.getLogger(__name__)


def find_converted(model: ModelOptions, checkpoint: Checkpoint) -> Path | None:
    """Return the folder of a checkpoint that was converted for such a run; None where there is none, or a damaged one.

    Its weights are those that the checkpoint's become when they are loaded: the run is the same.
    """
    folder = _place(model, checkpoint)
    record = read_json(folder / RECORD) if folder else {}
    if folder is None or not record:
        return None
    listed = record.get("files")
    for name, size in listed.items() if isinstance(listed, dict) else [(RECORD, -1)]:
        if not (folder / name).is_file() or (folder / name).stat().st_size != size:
            log.warning("%s is passed over: %s is not as it was written", folder, name)
            return None
    return folder


def convert(model: ModelOptions, checkpoint: Checkpoint, pipeline: Any) -> Path:
    """Write a checkpoint down as a run has it in memory.

    Args:
        model: the model's options.
        checkpoint: one that is on the disk.
        pipeline: loaded from it, in the run's dtypes.

    Returns:
        Its folder.

    Raises:
        BadInput: of such a model none is made, or it cannot be written.
    """
    folder = _place(model, checkpoint)
    if folder is None or checkpoint.folder is None:
        raise BadInput(
            "--convert is for directories and hub ids as they are: leave it out with a single file, an embedded model, "
            "model.quantization, and parts from elsewhere"
        )
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        if (free := shutil.disk_usage(partial).free) < (least := weight_bytes(checkpoint)):
            raise BadInput(f"{partial.parent} has {human_bytes(free)} free, and converting may take "
                           f"{human_bytes(least)}: free some, or set XDG_CACHE_HOME")  # fmt: skip
        for name, part in pipeline.components.items():
            if hasattr(part, "parameters"):
                part.save_pretrained(partial / name)
        for name in ("model_index.json", *read_json(checkpoint.folder / "model_index.json")):
            _copy_configuration(checkpoint.folder / name, partial / name)
        files = [file for file in partial.rglob("*") if file.is_file()]
        record = {
            "path": checkpoint.path,
            "revision": checkpoint.revision,
            "variant": checkpoint.variant,
            "dtype": model.dtype,
            "vae_dtype": model.vae_dtype,
            "files": {str(file.relative_to(partial)): file.stat().st_size for file in files},
        }
        (partial / RECORD).write_text(json.dumps(record, indent=1))
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        partial.rename(folder)
    except (OSError, SafetensorError) as error:  # of weights, what the system says comes in the other's text
        why = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{partial.parent} cannot be written ({why}): free some space, or set XDG_CACHE_HOME") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def converted_by_each(model: ModelOptions, checkpoint: Checkpoint) -> int:
    """Return the bytes of weights that each process of a run converts while it loads them, as they are stored."""
    if checkpoint.folder is None or _place(model, checkpoint) is None:
        return 0
    found = 0
    for file in weight_files(checkpoint):
        dtype = (model.vae_dtype if file.parent.name == "vae" else None) or model.dtype
        if file.suffix == ".safetensors":
            found += sum(
                size for name, size in bytes_by_dtype(file).items() if name in _STORED and name != _NAMES[dtype]
            )
    return found


def _place(model: ModelOptions, checkpoint: Checkpoint) -> Path | None:
    """Return where a conversion lies, or would; None of a model of which there is none."""
    if checkpoint.single or checkpoint.parts or model.quantization or checkpoint.revision is None:
        return None
    if checkpoint.path.startswith(EMBEDDED):
        return None
    what = [Path(checkpoint.path).name, checkpoint.revision, checkpoint.variant, model.dtype]
    vae = f"vae-{model.vae_dtype}" if model.vae_dtype not in (None, model.dtype) else None
    return cache_folder("converted") / "-".join(filter(None, [*what, vae]))


def _copy_configuration(place: Path, copy: Path) -> None:
    """Copy a file, or those of a folder that hold no weights."""
    if place.is_file():
        shutil.copyfile(place, copy)
    for file in place.iterdir() if place.is_dir() else ():
        if file.is_file() and not file.name.endswith(_WEIGHTS):
            copy.mkdir(exist_ok=True)
            shutil.copyfile(file, copy / file.name)
