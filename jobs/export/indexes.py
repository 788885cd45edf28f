"""The small files beside the data that readers look for: sizes, wids' index, checksums, and energon's folder."""

import importlib.util
import json
import subprocess
import sys
import uuid
from pathlib import Path, PurePosixPath
from typing import Any

from jobs.base.errors import BadInput
from jobs.options.export import SPLITS
from jobs.store.atomic import write_bytes
from jobs.store.tar import hash_file

SUMS = "SHA256SUMS"
_ENERGON = "megatron.energon"
ENERGON_SPLITS = {"train": "train", "validation": "val", "test": "test"}
_PREPARE = "from megatron.energon.tools.prepare import command; command()"
_UUID = ".nv-meta/index.uuid"


def tar_indexes(records: dict[str, dict[str, Any]], name: str) -> dict[str, bytes]:
    """Return, by path, what readers of tars look for beside them.

    ``sizes.json`` (open_clip) is in every folder that holds tars and tells of all tars of its split;
    ``SPLIT-index.json`` is wids' index of a split.

    Args:
        records: path of each tar -> its "bytes" and "samples".
        name: what the data set is called.
    """
    found: dict[str, bytes] = {}
    for split in SPLITS:
        own = {path: record for path, record in records.items() if path.startswith(f"{split}/")}
        if not own:
            continue
        sizes = _text({PurePosixPath(path).name: record["samples"] for path, record in own.items()})
        found |= {f"{folder}/sizes.json": sizes for folder in {str(PurePosixPath(path).parent) for path in own}}
        shards = [{"url": path, "nsamples": one["samples"], "filesize": one["bytes"]} for path, one in own.items()]
        found[f"{split}-index.json"] = _text(
            {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": f"{name}-{split}", "shardlist": shards}
        )
    return found


def checksums(folder: Path, known: dict[str, str]) -> str:
    """Return the contents of SHA256SUMS, as ``sha256sum -c`` reads it.

    Args:
        folder: all files in it are named, but the one of that name itself.
        known: path -> sha256 of what was hashed when it was read back.
    """
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return "".join(f"{known.get(name) or hash_file(folder / name)}  {name}\n" for name in files if name != SUMS)


def write_checked(path: Path, data: bytes) -> None:
    """Write a file, and see that the disk gives it back.

    Raises:
        OSError: it does not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data)
    if path.read_bytes() != data:
        raise OSError(f"{path} was read back with other bytes than were written")


def energon_is_installed() -> bool:
    """Whether Megatron-Energon is there; it is not imported."""
    try:
        return importlib.util.find_spec(_ENERGON) is not None
    except ModuleNotFoundError:
        return False


def prepare_energon(folder: Path, splits: list[str], extension: str, identity: str) -> None:
    """Let energon's own program index the tars of a folder, for ``CaptioningSample``; of clips, for its crude samples.

    Args:
        folder: holds the tars.
        splits: those that have some.
        extension: the kind of the images or clips.
        identity: what the export is; the index's id, else drawn by chance, follows from it.

    Raises:
        BadInput: it is not installed, or refuses.
    """
    if not energon_is_installed():
        raise BadInput("energon=true needs Megatron-Energon: pip install megatron-energon, or leave it out")
    kind = ["--sample-type", "CrudeWebdataset"]
    if extension != "mp4":
        fields = json.dumps({"image": extension, "caption": "txt"})
        kind = ["--sample-type", "CaptioningSample", "--field-map", fields]
    parts = [word for split in splits for word in ("--split-parts", f"{ENERGON_SPLITS[split]}:{split}/.*")]
    words = ["--non-interactive", "--force-overwrite", "--no-progress", "--num-workers", "1", *parts, *kind]
    done = subprocess.run(  # a process of its own, which takes torch's memory with it when it ends
        [sys.executable, "-c", _PREPARE, *words, str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise BadInput(f"Megatron-Energon could not index the export ({reason}): mend that, or add energon=false")
    write_bytes(folder / _UUID, str(uuid.uuid5(uuid.NAMESPACE_OID, identity)).encode())


def _text(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
