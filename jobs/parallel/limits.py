"""What ranks can share: which models, and which sizes. No torch here: it is asked before a launch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.base.checkpoint_json import read_index, read_json
from jobs.base.errors import BadInput
from jobs.options.degrees import Degrees
from jobs.options.model import FeatureOptions, ModelOptions

# Denoisers that can be shared, and the text tokens that are split together with the picture's (None: text stays whole).
DENOISERS = {
    "WanTransformer3DModel": None,
    "HunyuanVideoTransformer3DModel": 256,
    "FluxTransformer2DModel": 512,
}
RING = ("WanTransformer3DModel", "FluxTransformer2DModel")  # whose attention takes no mask
TWO_CALLS = (
    "WanPipeline",
)  # pipelines that compute the two branches of guidance in two calls, kept until both are there


@dataclass(frozen=True)
class Size:
    """Height and width in pixels, and frames."""

    height: int
    width: int
    num_frames: int

    def tokens(self, feature: FeatureOptions) -> int:
        """Return the tokens of a sample in the denoiser; ``feature`` is the model's."""
        frames = (self.num_frames - 1) // feature.frames + 1
        return frames * (self.height // feature.pixels) * (self.width // feature.pixels)

    def __str__(self) -> str:
        clip = f", num_frames={self.num_frames}" if self.num_frames > 1 else ""
        return f"height={self.height}, width={self.width}{clip}"


def features_bytes(numel: int, branches: int, rows: int, itemsize: int, degrees: Degrees) -> int:
    """Return the bytes of the features that each rank keeps to forecast from.

    Args:
        numel: numbers of a step's feature in one guidance branch, the whole batch's.
        branches: of guidance.
        rows: evaluated steps of which something is kept.
        itemsize: bytes of a number.
        degrees: how the ranks share the tokens, and the branches where there are two.
    """
    return rows * branches * numel // (degrees.sequence * (degrees.cfg if branches == 2 else 1)) * itemsize


def check_divides(size: Size, model: ModelOptions, degrees: Degrees, where: str = "") -> None:
    """Refuse a size whose tokens the ranks cannot share alike.

    Raises:
        BadInput: names the nearest sizes that work.
    """
    parts = degrees.sequence
    tokens = size.tokens(model.feature)
    if tokens % parts == 0:
        return
    works = sorted(_near(size, model, parts), key=lambda other: abs(other.tokens(model.feature) - tokens))[:2]
    instead = f", such as {' or '.join(map(str, works))}" if works else ""
    raise BadInput(
        f"{where}{size} makes {tokens} tokens, which {parts} ranks ({degrees}) cannot split evenly: "
        f"choose a size whose tokens are a multiple of {parts}{instead}"
    )


def _near(size: Size, model: ModelOptions, parts: int) -> Iterator[Size]:
    """Yield sizes that differ in one number, by as little as it takes."""
    steps = {"height": model.size_multiple, "width": model.size_multiple, "num_frames": model.frame_step or 0}
    for name, step in steps.items():
        for sign in (-1, 1):
            for times in range(1, parts + 1 if step else 0):
                other = Size(**{**vars(size), name: getattr(size, name) + sign * times * step})
                if getattr(other, name) < 1:
                    break
                if other.tokens(model.feature) % parts == 0:
                    yield other
                    break


def check_shareable(model: ModelOptions, folder: Path | None, degrees: Degrees, guidance_scale: float) -> None:
    """Refuse what a model cannot share. Without its directory (not downloaded yet) only guidance can be told.

    Raises:
        BadInput: the degree and what would work.
    """
    if degrees.cfg > 1 and guidance_scale <= 1:
        raise BadInput(
            f"parallel.cfg=2 computes the two branches of guidance at once, and guidance_scale={guidance_scale:g} has "
            "only one: use parallel.cfg=1, or a guidance_scale above 1"
        )
    if degrees.size > 1 and model.offload != "none":
        raise BadInput(f"model.offload={model.offload} does not go with {degrees}: use model.offload=none")
    if folder is None or degrees.size == 1:
        return
    index = read_index(folder)
    if not index:  # and so it is refused
        return
    name = index.get("transformer", [None, None])[1] or index.get("unet", [None, "its denoiser"])[1]
    if degrees.cfg > 1 and str(index["_class_name"]) not in TWO_CALLS:
        raise BadInput(
            f"parallel.cfg=2 needs a pipeline that computes the branches of guidance in two calls, and model "
            f"{model.name} ({index['_class_name']}) does not: use parallel.cfg=1"
        )
    if degrees.sequence == 1:
        return
    if name not in DENOISERS:
        raise BadInput(
            f"{degrees} cannot share model {model.name} ({name}): only {', '.join(DENOISERS)} can be shared, "
            "so leave parallel.ulysses and parallel.ring out (ngpu= makes several samples at once)"
        )
    if degrees.ring > 1 and name not in RING:
        raise BadInput(
            f"parallel.ring={degrees.ring} cannot pass the attention mask of model {model.name} around: "
            "use parallel.ulysses"
        )
    if degrees.ring > 1 and model.dtype == "float32":
        raise BadInput(
            f"parallel.ring={degrees.ring} works on GPUs in half precision only: use parallel.ulysses, or "
            "model.dtype=bfloat16 on GPUs"
        )
    heads = read_json(folder / "transformer" / "config.json").get("num_attention_heads")
    if isinstance(heads, int) and heads % degrees.ulysses:
        works = ", ".join(str(degree) for degree in range(1, heads + 1) if heads % degree == 0)
        raise BadInput(
            f"parallel.ulysses={degrees.ulysses} does not divide the {heads} attention heads of model "
            f"{model.name}: use one of {works}, or parallel.ring"
        )
    words = DENOISERS[name] and model.call.get("max_sequence_length", DENOISERS[name])
    if words and words % degrees.sequence:
        raise BadInput(
            f"{degrees} does not divide the {words} text tokens of model {model.name}: use degrees whose product does"
        )
