"""The files that a pipeline's weights are in, and how large they are."""

from pathlib import Path

from jobs.model.checkpoint import Checkpoint


def weight_bytes(checkpoint: Checkpoint) -> int:
    """Return the bytes of the weights that a pipeline is loaded from; 0 of one that is not there."""
    return sum(file.stat().st_size for file in weight_files(checkpoint))


def weight_files(checkpoint: Checkpoint) -> list[Path]:
    """Return the files that a pipeline is loaded from; none of one that is not there.

    As in diffusers, a part that has none of the variant that is asked for gives its plain ones.
    """
    folder = checkpoint.folder
    elsewhere = {part.name: part.place for part in checkpoint.parts}
    parts = [part for part in folder.iterdir() if part.is_dir() and part.name not in elsewhere] if folder else []
    files = [place for place in elsewhere.values() if place and place.is_file()]
    if checkpoint.single:
        files.append(checkpoint.single.file)
        parts = [part for part in parts if part.name in checkpoint.single.lacks]
    parts += [place for place in elsewhere.values() if place and place.is_dir()]
    return [*files, *(file for part in parts for file in _of_part(part, checkpoint.variant) or _of_part(part, None))]


def _of_part(part: Path, variant: str | None) -> list[Path]:
    files = [file for file in part.iterdir() if file.suffix in (".safetensors", ".bin") and _variant(file) == variant]
    return [file for file in files if file.suffix == ".safetensors"] or files


def _variant(file: Path) -> str | None:
    """``fp16`` of ``model.fp16.safetensors`` and ``model.fp16-00001-of-00002.safetensors``."""
    name = file.stem.partition(".")[2]
    return name.partition("-")[0] or None
