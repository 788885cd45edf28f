"""What ``python -m jobs.score`` can be told, and which scorers come with the program."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.base.errors import BadInput
from jobs.options.fields import option
from jobs.options.words import read_group, split_words

# Scorer -> the columns that it makes; those of clips alone come last.
COLUMNS = {
    "basic": ("sharpness", "contrast", "entropy", "phash", "constant_frames", "motion", "flicker"),
    "near_duplicates": ("near_duplicate_of",),
    "fidelity": ("psnr", "ssim"),
    "clip": ("clip_score",),
    "aesthetic": ("aesthetic",),
    "nsfw": ("nsfw",),
    "shapes": ("shows_prompt", "shows_wrong"),
}
# Options of jobs.generate that say where and by how many processes work is done.
WHERE = (
    *("device", "ngpu", "cpu_threads", "shards", "shards_per_task", "wait", "sample_attempts", "max_attempts"),
    *("container", "work_path"),
)
_OF_HYDRA = re.compile(r"\+{0,2}(hydra[./]|container\.)[^=]*=")
OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class ScoreOptions:
    """How a run is scored."""

    scorers: str = option(
        "basic,near_duplicates",
        f"what is measured, some of {', '.join(COLUMNS)}, and module:function for a scorer of your own",
    )
    against: str | None = option(
        None, "another run: near_duplicates looks for duplicates there too, fidelity compares the samples of one key"
    )
    duplicate_bits: int = option(
        4, "samples are near duplicates where their phash differs in at most so many of 64 bits", least=0, most=16
    )
    batch_size: int = option(8, "samples that a scorer gets at a time", least=1)
    gpus: int | None = option(
        None, "GPUs of each process; null: 1 for clip, aesthetic and nsfw, 0 for all others", least=0
    )
    clip: str = option(
        "openai/clip-vit-large-patch14", "checkpoint of clip and aesthetic: a CLIP model's folder, or hub id"
    )
    aesthetic: str | None = option(
        None, "the head of aesthetic: a file (.safetensors, .pth) of linear layers on CLIP's image embedding"
    )
    nsfw: str = option("Falconsai/nsfw_image_detection", "checkpoint of nsfw: an image classifier's folder, or hub id")
    nsfw_labels: str = option(
        "nsfw", "the labels of that classifier whose probabilities nsfw adds up, like porn,hentai"
    )

    @property
    def names(self) -> list[str]:
        """The scorers, in order.

        Raises:
            BadInput: one does not exist, or none is given.
        """
        text = self.scorers.strip()
        text = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        names = list(dict.fromkeys(filter(None, (part.strip(" '\"") for part in text.split(",")))))
        for name in names:
            if name not in COLUMNS and not OWN.fullmatch(name):
                raise BadInput(_no_such_scorer(name))
        if not names:
            raise BadInput(f"scorers is empty: name some of {', '.join(COLUMNS)}, or module:function")
        return names


def scorer_of(column: str) -> str | None:
    """Return which of the program's scorers makes a column."""
    return next((name for name, columns in COLUMNS.items() if column in columns), None)


def parse_score(words: Sequence[str]) -> tuple[list[str], ScoreOptions, list[str]]:
    """Split a command line into paths, options, and what is an option of ``jobs.generate`` or of a launcher.

    Raises:
        BadInput: an option does not exist, is given twice, or has a value that it does not take.
    """
    elsewhere = [word for word in words if _OF_HYDRA.match(word)]
    paths, given = split_words(word for word in words if not _OF_HYDRA.match(word))
    where: dict[str, Any] = {name: given.pop(name) for name in WHERE if name in given}
    options: ScoreOptions = read_group(
        given, ScoreOptions, "jobs.score", [*WHERE, "hydra/launcher", "hydra.launcher.*"]
    )
    _ = options.names  # refuses a wrong one
    texts = {None: "null", True: "true", False: "false"}
    return paths, options, [*elsewhere, *(f"{name}={texts.get(value, value)}" for name, value in where.items())]


def _no_such_scorer(name: str) -> str:
    if scorer := scorer_of(name):
        return f"there is no scorer '{name}', which is a column of {scorer}: use scorers=[{scorer}]"
    return f"there is no scorer '{name}': there are {', '.join(COLUMNS)}, and module:function for one of your own"
