"""What of the hub's repositories is in the cache on the disk."""

import re
from pathlib import Path

from jobs.base.errors import BadInput

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")


def cached_snapshot(path: str, revision: str | None, *, holds: tuple[str, ...], otherwise: str) -> Path | None:
    """Return the folder of what was downloaded of a revision; None where none of some files ever was.

    Args:
        path: hub id.
        revision: branch, tag or commit; None: the default branch.
        holds: files one of which is there.
        otherwise: the sentence for what is not a hub id.

    Raises:
        BadInput: it cannot be a hub id.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        # One file is enough to find the folder; the parts that are loaded are fewer than the repository has files.
        found = snapshot_download(path, revision=revision, local_files_only=True, allow_patterns=[*holds])
    except LocalEntryNotFoundError:
        return None
    except HFValidationError:
        raise BadInput(otherwise) from None
    folder = Path(found)
    return folder if any((folder / file).is_file() for file in holds) else None
