"""The models that come with the program, small enough to live in it: nothing has to be downloaded.

`image` draws 64x64 pictures of one or two coloured shapes from sentences like

    a red circle above a blue square on a white background
    a green star on a black background

`unet` draws the same pictures, with a UNet that predicts noise.

`video` draws two seconds, 17 frames of 48x48, of one moving shape:

    a green star moving left on a black background
    a red circle standing still on a white background

Colours: red, orange, yellow, green, blue, purple, pink, white.
Shapes: circle, square, triangle, star, diamond, cross.
Relations: above, below, left of, right of. Motions: moving left, right, up, down; standing still.
Backgrounds: white, black, gray, navy, beige.
How they were made: docs/demo-model.md.
"""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).parent
_WORDS = {"image": "tokenizer_2", "unet": "tokenizer", "video": "tokenizer"}  # where each model keeps its words


def path(name: str) -> Path:
    """The pipeline directory of an embedded model.

    Args:
        name: Its name: "image", "unet" or "video".

    Raises:
        ValueError: No embedded model has that name.
    """
    known = sorted(index.parent.name for index in HERE.glob("*/model_index.json"))
    if name not in known:
        raise ValueError(f"no embedded model {name!r}; there is: {', '.join(known) or 'none'}")
    return HERE / name


def vocabulary(name: str = "image") -> set[str]:
    """The words that an embedded model knows; it reads any other word as `<unk>`.

    Args:
        name: "image", "unet" or "video".

    Raises:
        ValueError: No embedded model has that name.
    """
    content = json.loads((path(name) / _WORDS[name] / "tokenizer.json").read_text())
    return {word for word in content["model"]["vocab"] if not word.startswith("<")}
