"""The probability that a classifier of pictures gives to labels such as nsfw."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.base.errors import BadInput
from jobs.score.checkpoints import Checkpoint, find_checkpoint
from jobs.score.embedding import stills

if TYPE_CHECKING:
    from jobs.score.scorers import Measure

KINDS = ("ForImageClassification",)


@dataclass(frozen=True)
class Nsfw:
    """See ``jobs.score.scorers.Scorer``; of a clip it is the highest of its frames' probabilities.

    Attributes:
        labels: whose probabilities are added up.
    """

    checkpoint: Checkpoint
    gpus: int
    labels: tuple[str, ...]
    name: str = "nsfw"
    sample_seconds: float = 0.1
    by_batch: bool = True

    @classmethod
    def find(cls, path: str, labels: str, gpus: int) -> "Nsfw":
        """Find the classifier.

        Raises:
            BadInput: it is not there, or has no such labels.
        """
        checkpoint = find_checkpoint("nsfw", path, KINDS)
        known = list(dict(checkpoint.config.get("id2label") or {}).values())
        asked = tuple(label.strip() for label in labels.split(","))
        if missing := [label for label in asked if label not in known]:
            raise BadInput(f"nsfw_labels: {path} has no label '{missing[0]}': it has {', '.join(map(str, known))}")
        return cls(checkpoint, gpus, asked)

    @property
    def identity(self) -> dict[str, Any]:
        """See ``Scorer``."""
        return {"scorer": self.name, **self.checkpoint.identity, "labels": ",".join(self.labels)}

    @property
    def inputs(self) -> list[Path]:
        """See ``Scorer``."""
        return self.checkpoint.inputs

    def check(self) -> None:
        """See ``Scorer``."""
        find_checkpoint("nsfw", self.checkpoint.path, KINDS)

    def load(self, device: str) -> "Measure":
        """See ``Scorer``."""
        import torch
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        folder = self.checkpoint.folder
        model: Any = AutoModelForImageClassification.from_pretrained(folder).float().to(device).eval()
        processor: Any = AutoImageProcessor.from_pretrained(folder, backend="pil")
        places = [place for place, label in model.config.id2label.items() if label in self.labels]

        def measure(media: np.ndarray, rows: list[dict[str, Any]]) -> dict[str, Sequence[Any]]:
            pictures, count = stills(media)
            pixels = processor(images=list(pictures), return_tensors="pt")["pixel_values"].to(device)
            with torch.inference_mode():
                shares = model(pixel_values=pixels).logits.softmax(-1)[:, places].sum(1)
            return {"nsfw": shares.view(-1, count).amax(1).tolist()}

        return measure
