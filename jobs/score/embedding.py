"""Scores by CLIP: how well a picture goes with its prompt, and how beautiful a head on CLIP's embedding finds it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.base.errors import BadInput, first_line
from jobs.score.checkpoints import Checkpoint, file_digest, find_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

    from jobs.score.scorers import Measure

FRAMES = 4  # of a clip that are looked at, spread evenly; their scores' mean is the clip's
_HEAD = (
    "aesthetic needs a head: download sac+logos+ava1-l14-linearMSE.pth of "
    "github.com/christophschuhmann/improved-aesthetic-predictor, which is for the default clip=, and give "
    "aesthetic=FILE"
)


def stills(media: np.ndarray) -> tuple[np.ndarray, int]:
    """Return pictures, uint8 (n * k, height, width, 3), and k: images themselves, of clips ``FRAMES`` frames each."""
    if media.ndim == 4:
        return media, 1
    places = np.unique(np.linspace(0, media.shape[1] - 1, FRAMES).round().astype(int))
    return media[:, places].reshape(-1, *media.shape[2:]), len(places)


@dataclass(frozen=True)
class _OnClip:
    """What scorers on a CLIP model share; see ``jobs.score.scorers.Scorer``."""

    checkpoint: Checkpoint
    gpus: int
    sample_seconds: float = 0.1
    by_batch: bool = True

    @property
    def inputs(self) -> list[Path]:
        return self.checkpoint.inputs

    def check(self) -> None:
        find_checkpoint(self.checkpoint.option, self.checkpoint.path, ("clip",))


@dataclass(frozen=True)
class ClipScore(_OnClip):
    """100 times the cosine of CLIP's embeddings of picture and prompt (Hessel et al., "CLIPScore", 2021, unscaled).

    Prompts longer than the text encoder reads are cut.
    """

    name: str = "clip"

    @property
    def identity(self) -> dict[str, Any]:
        """See ``Scorer``."""
        return {"scorer": self.name, **self.checkpoint.identity}

    def load(self, device: str) -> "Measure":
        """See ``Scorer``."""
        from transformers import AutoTokenizer

        model = _Clip(self.checkpoint.folder, device)
        tokenizer = AutoTokenizer.from_pretrained(self.checkpoint.folder)
        longest = model.model.config.text_config.max_position_embeddings

        def measure(media: np.ndarray, rows: list[dict[str, Any]]) -> dict[str, Sequence[Any]]:
            pictures, count = stills(media)
            said = tokenizer(
                [row["prompt"] for row in rows],
                padding=True,
                truncation=True,
                max_length=longest,
                return_tensors="pt",
            )
            texts = model.texts(said).repeat_interleave(count, 0)
            cosines = (model.pictures(pictures) * texts).sum(1)
            return {"clip_score": (100 * cosines).view(-1, count).mean(1).tolist()}

        return measure


@dataclass(frozen=True)
class Aesthetic(_OnClip):
    """What a head says of CLIP's embedding of the picture, scaled to length 1.

    Attributes:
        head: linear layers, in the order of their names.
        digest: of the file.
    """

    head: Path = Path()
    digest: str = ""
    name: str = "aesthetic"

    @classmethod
    def find(cls, clip: str, head: str | None, gpus: int) -> "Aesthetic":
        """Find model and head.

        Raises:
            BadInput: one is not there, or they do not fit together.
        """
        if head is None:
            raise BadInput(_HEAD)
        path = Path(head).expanduser()
        if not path.is_file():
            raise BadInput(f"aesthetic={head} is no file: {_HEAD}")
        checkpoint = find_checkpoint("clip", clip, ("clip",))
        wanted, width = read_head(path)[0][0].shape[1], checkpoint.config.get("projection_dim", 512)
        if wanted != width:
            raise BadInput(
                f"aesthetic={head} is for embeddings of {wanted} numbers, and clip={clip} makes {width}: "
                "give the CLIP model that it is for"
            )
        return cls(checkpoint, gpus, head=path, digest=file_digest([path]))

    @property
    def identity(self) -> dict[str, Any]:
        """See ``Scorer``."""
        return {"scorer": self.name, **self.checkpoint.identity, "head": self.digest}

    @property
    def inputs(self) -> list[Path]:
        """See ``Scorer``."""
        return [*self.checkpoint.inputs, self.head]

    def check(self) -> None:
        """See ``Scorer``."""
        super().check()
        if not self.head.is_file() or file_digest([self.head]) != self.digest:
            raise BadInput(f"aesthetic={self.head} is not what it was, or not there: run the same command again")

    def load(self, device: str) -> "Measure":
        """See ``Scorer``."""
        model = _Clip(self.checkpoint.folder, device)
        layers = [(weight.to(device), bias.to(device)) for weight, bias in read_head(self.head)]

        def measure(media: np.ndarray, rows: list[dict[str, Any]]) -> dict[str, Sequence[Any]]:
            pictures, count = stills(media)
            found = model.pictures(pictures)
            for weight, bias in layers:
                found = found @ weight.T + bias
            return {"aesthetic": found.view(-1, count).mean(1).tolist()}

        return measure


def read_head(path: Path) -> "list[tuple[Tensor, Tensor]]":
    """Return the weights and biases of a head's linear layers, float32, from the first to the last.

    Raises:
        BadInput: the file holds something else.
    """
    import torch
    from safetensors.torch import load_file

    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        names = [name.removesuffix("weight") for name in state if name.endswith("weight")]
        names.sort(key=lambda name: [int(digits) for digits in re.findall(r"\d+", name)])
        layers = [(state[f"{name}weight"].float(), state[f"{name}bias"].float()) for name in names]
    except Exception as error:  # whatever is in the file
        raise BadInput(f"aesthetic={path} is no file of linear layers: {first_line(error)}") from None
    chained = all(one[0].shape[0] == two[0].shape[1] for one, two in pairwise(layers))
    if not layers or not chained or layers[-1][0].shape[0] != 1:
        raise BadInput(f"aesthetic={path} must hold linear layers that lead from an embedding to one number")
    return layers


class _Clip:
    """A CLIP model that makes embeddings of length 1, float32."""

    def __init__(self, folder: Path, device: str):
        from transformers import AutoImageProcessor, CLIPModel

        self.model: Any = CLIPModel.from_pretrained(folder).float().to(device).eval()
        # The same pixels whether torchvision is installed or not.
        self._processor: Any = AutoImageProcessor.from_pretrained(folder, backend="pil")
        self._device = device

    def pictures(self, pictures: np.ndarray) -> "Tensor":
        """Embed pictures, uint8 (n, height, width, 3), as (n, width of the projection)."""
        import torch

        pixels = self._processor(images=list(pictures), return_tensors="pt")["pixel_values"].to(self._device)
        with torch.inference_mode():
            pooled = self.model.vision_model(pixel_values=pixels).pooler_output
            return _of_length_one(self.model.visual_projection(pooled))

    def texts(self, said: Any) -> "Tensor":
        """Embed what a tokenizer made of n texts, likewise."""
        import torch

        with torch.inference_mode():
            pooled = self.model.text_model(
                input_ids=said["input_ids"].to(self._device), attention_mask=said["attention_mask"].to(self._device)
            ).pooler_output
            return _of_length_one(self.model.text_projection(pooled))


def _of_length_one(embeddings: "Tensor") -> "Tensor":
    found: Tensor = embeddings / embeddings.norm(dim=-1, keepdim=True)
    return found
