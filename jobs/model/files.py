"""Files of weights: what is in them without reading it, what pins them, and which are not read at all."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput, first_line

GGUF = ".gguf"
SAFETENSORS = ".safetensors"
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
FETCH_AGAIN = "fetch it again"
HASHED_WHOLE = 64 << 20  # bytes of weights up to which they are identified by all that is in them

_HEADER = 8  # bytes at the beginning of a safetensors file that say how long its header is
_POINTER = b"version https://git-lfs"
_FETCH_POINTER = "is a pointer of Git LFS, not the weights: run git lfs pull where it lies"
_LONGEST = 100 << 20  # bytes of a header; the format allows no more


def names_file(path: str) -> bool:
    """Return whether an option names a file of weights, not a folder or a hub id; a folder may be called anything."""
    return path.endswith((SAFETENSORS, GGUF, *PICKLES)) and not Path(path).expanduser().is_dir()


def check_file(option: str, path: str) -> Path:
    """Return a file of weights that an option names, if it is one.

    Args:
        option: such as "model.path".
        path: as the user gave it.

    Raises:
        BadInput: it is not there, or not what its name says; or it is a pickle, which may do anything when it is read.
    """
    file = Path(path).expanduser()
    if file.suffix in PICKLES:
        raise BadInput(
            f"{option} {path} is a pickle, which can run any code when it is read: give a .safetensors file of it"
        )
    if not file.is_file():
        raise BadInput(f"{option} {path} is not a file that is there: correct the path")
    if is_pointer(file):
        raise BadInput(f"{option} {path} {_FETCH_POINTER}")
    if file.suffix == GGUF:
        with file.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                raise BadInput(f"{option} {path} is not a GGUF file: fetch it again")
    else:
        read_header(option, file)
    return file.absolute()


def check_gguf(option: str, file: Path) -> None:
    """Make sure that all of a GGUF file is there, by what its header says; gguf is installed.

    Args:
        option: that names the file, for the error.
        file: the file; its weights are not read.

    Raises:
        BadInput: it ends before, or the header is none.
    """
    from gguf import GGUFReader

    try:
        GGUFReader(file)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError):  # whatever it stumbles over
        raise BadInput(f"{option} {file} is not a whole GGUF file: fetch it again") from None


def read_header(option: str, file: Path, mend: str = FETCH_AGAIN) -> dict[str, tuple[int, ...]]:
    """Return the names of a safetensors file's tensors, each with its shape.

    Args:
        option: that names the file, for the error.
        file: the file; its weights are not read.
        mend: what to do about one that is torn, for the error.

    Raises:
        BadInput: it is not such a file, or not all of it is there.
    """
    return {name: shape for name, (_, shape, _) in _tensors(option, file, mend).items()}


def is_pointer(file: Path) -> bool:
    """Return whether a file is what Git leaves in the place of one that Git LFS has not fetched."""
    with file.open("rb") as stream:
        return stream.read(len(_POINTER)) == _POINTER


def bytes_by_dtype(file: Path) -> dict[str, int]:
    """Return the bytes of a safetensors file's weights in each dtype, by the format's names, such as "BF16".

    Raises:
        BadInput: as ``read_header``.
    """
    found: dict[str, int] = {}
    for dtype, _, (start, end) in _tensors("model.path", file, FETCH_AGAIN).values():
        found[dtype] = found.get(dtype, 0) + end - start
    return found


def _tensors(option: str, file: Path, mend: str) -> dict[str, tuple[str, tuple[int, ...], tuple[int, int]]]:
    """Return of each tensor the dtype, the shape, and where it begins and ends."""
    if is_pointer(file):
        raise BadInput(f"{option} {file} {_FETCH_POINTER}")
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(_HEADER), "little")
        try:
            header = json.loads(stream.read(length) if length <= _LONGEST else "")
            tensors = {name: _tensor(one) for name, one in header.items() if name != "__metadata__"}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise BadInput(f"{option} {file} is not a safetensors file: {mend}") from None
    end = _HEADER + length + max((end for _, _, (_, end) in tensors.values()), default=0)
    if file.stat().st_size != end:
        raise BadInput(f"{option} {file} has {file.stat().st_size} bytes where its header says {end}: {mend}")
    return tensors


def _tensor(entry: Any) -> tuple[str, tuple[int, ...], tuple[int, int]]:
    start, end = entry["data_offsets"]
    return str(entry["dtype"]), tuple(map(int, entry["shape"])), (int(start), int(end))


@contextmanager
def fitting(option: str, kind: str) -> Iterator[None]:
    """Say in a sentence that a file's weights are not those of a class, where its names and shapes are no others'.

    Args:
        option: that names the file, as the user wrote it.
        kind: the class.
    """
    from diffusers.loaders.single_file_utils import SingleFileComponentError

    try:
        yield
    except (KeyError, IndexError, ValueError, RuntimeError, AttributeError, SingleFileComponentError) as error:
        # Of a network whose weights have shapes and no contents, diffusers says so when it is moved.
        why = "it lacks weights" if isinstance(error, NotImplementedError) else first_line(error)
        raise BadInput(f"{option} does not fit {kind} ({why}): give one made for this model") from error


def check_whole(module: Any) -> None:
    """Make sure that a network got all of its weights.

    Raises:
        NotImplementedError: it lacks one.
    """
    for name, weight in module.named_parameters() if hasattr(module, "named_parameters") else ():
        if weight.is_meta:
            raise NotImplementedError(name)


def digest_of(files: Mapping[str, Path]) -> str:
    """Return 16 hexadecimal digits over files: names, sizes and contents (of large ones, pieces).

    Args:
        files: what each is called here -> where it lies.

    Raises:
        BadInput: one is a link that leads nowhere.
    """
    for file in files.values():
        if not file.exists():  # as of a hub's snapshot that was copied without what its links lead to
            raise BadInput(f"{file} is a link to a file that is not there: copy the folder again, with cp -rL")
    whole = sum(file.stat().st_size for file in files.values()) <= HASHED_WHOLE
    digest = hashlib.sha256()
    for name, file in files.items():
        digest.update(f"{name}\0{file.stat().st_size}\0".encode())
        if whole or file.suffix == ".json":
            digest.update(file.read_bytes())
        else:
            _hash_pieces(file, digest)
    return digest.hexdigest()[:16]


def _hash_pieces(file: Path, digest: Any, pieces: int = 256, size: int = 1 << 14) -> None:
    """Of a large weight file take pieces spread evenly: training changes nearly all weights of what it trains."""
    with open(file, "rb") as stream:
        for piece in range(pieces):
            stream.seek(piece * max(file.stat().st_size - size, 0) // (pieces - 1))
            digest.update(stream.read(size))
