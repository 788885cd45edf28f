"""Programs that others read files with."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any


def ffprobe(path: Path, entries: str, *options: str) -> dict[str, Any]:
    """What ffprobe says of a clip: ``entries`` are those of its -show_entries."""
    return json.loads(_said("ffprobe", "-v", "error", *options, "-show_entries", entries, "-of", "json", str(path)))


def exiftool(path: Path) -> dict[str, Any]:
    """What exiftool says of a file: group:tag -> value."""
    (said,) = json.loads(_said("exiftool", "-j", "-G1", "-n", str(path)))
    return said


def _said(program: str, *arguments: str) -> str:
    assert shutil.which(program), f"{program} is missing: run `apt-get install ffmpeg libimage-exiftool-perl`"
    ended = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)
    assert not ended.stderr
    return ended.stdout
