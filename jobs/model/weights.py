"""How large the weights of a pipeline are."""

from pathlib import Path


def weight_bytes(folder: Path | None) -> int:
    """Return the bytes of the weights that a pipeline's directory is loaded from; 0 of one that is not there."""
    total = 0
    for part in folder.iterdir() if folder else ():
        if part.is_dir():
            files = [file for file in part.iterdir() if _holds_weights(file)]
            tensors = [file for file in files if file.suffix == ".safetensors"]
            total += sum(file.stat().st_size for file in tensors or files)
    return total


def _holds_weights(file: Path) -> bool:
    """Whether a file is loaded; one of a variant, such as ``model.fp16.safetensors``, is so only when asked for."""
    return file.suffix in (".safetensors", ".bin") and file.name.count(".") == 1
