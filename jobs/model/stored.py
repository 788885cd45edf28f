"""What a part's weights are stored in: which files, whether all of them are there, and whether they are whole."""

import re
from collections.abc import Iterator
from pathlib import Path

from jobs.base.checkpoint_json import read_shards
from jobs.base.errors import BadInput
from jobs.model.files import FETCH_AGAIN, SAFETENSORS, is_pointer, read_header

WEIGHT_FILES = ("model", "pytorch_model", "diffusion_pytorch_model")  # as loaded where no variant is asked for
_VARIANT = re.compile(r"^(?:model|pytorch_model|diffusion_pytorch_model)(?:\.([a-z]\w*))(?:-\d+-of-\d+)?\.\w+$")
_FORMATS = (SAFETENSORS, ".bin")


def variants_in(folder: Path) -> set[str]:
    """Return the variants of which a pipeline's directory holds weights, such as "fp16"."""
    found = (_VARIANT.search(file.name) for file in folder.glob("*/*") if file.suffix in _FORMATS)
    return {match[1] for match in found if match}


def missing_weights(part: Path, variant: str | None) -> str | None:
    """Name what is missing of one variant of a part's weights; None when they are there, or it needs none."""
    shards = _indices(part, variant)
    # A repository may list shards in several formats; one complete set of weights is enough.
    if shards:
        absent = [_absent(shard) for shard in shards]
        return absent[0] if all(absent) else None
    # Networks have a config.json; tokenizers, schedulers and processors have files of other names.
    if not (part / "config.json").is_file():
        return None
    return None if any(_single(part, variant)) else f"the weights in {part.name}"


def check_stored(option: str, part: Path, variant: str | None, mend: str = FETCH_AGAIN) -> None:
    """Refuse weights of which a file is torn, empty, or a mere pointer to it; of each no more than the header is read.

    Args:
        option: that names the pipeline or the part, for the error.
        part: a folder in which no weights are missing.
        variant: whose weights are loaded; a part that has none of it gives its plain ones.
        mend: what to do about such a file, for the error.

    Raises:
        BadInput: names the file.
    """
    for file in stored_files(part, variant):
        if file.suffix == SAFETENSORS:
            read_header(option, file, mend)
        elif is_pointer(file) or not file.stat().st_size:
            raise BadInput(f"{option} {file} holds no weights: {mend}")


def stored_files(part: Path, variant: str | None) -> list[Path]:
    """Return the files that a part is loaded from, of one format; none where they are not all there."""
    files = _files(part, variant) or _files(part, None)
    return [file for file in files if file.suffix == SAFETENSORS] or files


def _files(part: Path, variant: str | None) -> list[Path]:
    """Return the files of one variant of a part's weights, in every format of which all are there."""
    shards = _indices(part, variant)
    if shards:
        whole = [shard for shard in shards if not _absent(shard)]
        return [part / file for shard in whole for file in read_shards(shard)]
    return [*_single(part, variant)]


def _single(part: Path, variant: str | None) -> Iterator[Path]:
    endings = [f".{variant}{suffix}" if variant else suffix for suffix in _FORMATS]
    files = (part / f"{stem}{ending}" for stem in WEIGHT_FILES for ending in endings)
    return (file for file in files if file.is_file())


def _indices(part: Path, variant: str | None) -> list[Path]:
    return sorted(part.glob(f"*.index.{variant}.json" if variant else "*.index.json"))


def _absent(index: Path) -> str | None:
    """Name a file that is listed among weights in several, and is not there; None when all are."""
    part, files = index.parent, read_shards(index)
    if not files:
        return f"a readable {part.name}/{index.name}"
    return next((f"{part.name}/{file}" for file in files if not (part / file).is_file()), None)
