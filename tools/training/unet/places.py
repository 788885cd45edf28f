"""Tell the UNet's attention which place is whose: done once to a model that draws the right things at chance places.

A UNet knows places from the zeros around its pictures alone, and its text encoder knows which object is the left one,
but to bring the two together is what training was slowest at. Both can be read by linear regression: places from what
enters an attention, sides of objects from the words. Put into queries and keys of its first head, in the place of all
that was there, they make each side of a picture look at the words of the object there.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from jobs.model.demo.scenes.image import RELATIONS, SINGLE, caption, sample_scenes
from tools.training import checkpoint, denoisers
from tools.training.denoisers import DenoiserTask, Pool
from tools.training.image.draw import DIRECTIONS
from tools.training.text import tokenize
from tools.training.unet.noise import add_noise
from tools.training.unet.reading import read

ATTENTIONS = ("down_blocks.2", "mid_block", "up_blocks.0", "up_blocks.1")  # the modules that have those it is done to
STRENGTH = 4.0  # of attention: the exponent is raised by so much for the object of a place, and lowered for the other
SAMPLES = 256
RIDGE = 1e-2


def point(task: DenoiserTask, work: Path) -> int:
    """Change the model, and the average of its weights, in ``work/denoiser.pt``; return how many attentions."""
    state = checkpoint.load(work / denoisers.FILE)
    if state is None:
        raise SystemExit(f"there is no {work / denoisers.FILE}: train the denoiser first")
    pool = denoisers.load_pool(task, work, seed=0)
    sides = sides_of_words(task.tokenizers())
    for name in ("model", "average"):
        model: Any = task.new()
        model.load_state_dict(state[name])
        count = point_attentions(model, pool, sides)
        state[name] = model.state_dict()
    checkpoint.save(work / denoisers.FILE, state)
    return count


@torch.no_grad()
def point_attentions(model: Any, pool: Pool, sides: Tensor) -> int:
    """Set queries and keys of the first head of every attention to words that is meant; return how many.

    Args:
        model: A ``Denoiser``.
        pool: Of samples that places are read from.
        sides: From ``sides_of_words``.
    """
    seen: dict[nn.Module, Tensor] = {}
    chosen = [
        module for name, module in model.unet.named_modules() if name.endswith("attn2") and name.startswith(ATTENTIONS)
    ]
    hooks = [
        module.to_q.register_forward_pre_hook(lambda module, given: seen.__setitem__(module, given[0]))
        for module in chosen
    ]
    generator = Generator().manual_seed(30)
    latents, ids = pool.draw(SAMPLES, generator)
    noisy, timesteps, _ = add_noise(latents, generator)
    model(noisy, timesteps, *ids)
    for hook in hooks:
        hook.remove()
    for module in chosen:
        given = seen[module.to_q]  # (n, cells, width)
        side = round(given.shape[1] ** 0.5)
        axis = torch.linspace(-1, 1, side)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        places = torch.stack([x.flatten(), y.flatten()], 1).sign().repeat(len(given), 1)
        rows = regress(given.reshape(-1, given.shape[-1]), places)
        scale = (STRENGTH * (module.to_q.weight.shape[0] / module.heads) ** 0.5) ** 0.5
        found = given.reshape(-1, given.shape[-1]) @ rows.T
        rows = rows / (found * places).mean(0).clamp(min=0.25)[:, None]  # as large as they should be
        for weight, first in ((module.to_q.weight, rows), (module.to_k.weight, sides)):
            weight[: len(weight) // module.heads] = 0
            weight[:2] = scale * first
    return len(chosen)


def sides_of_words(tokenizers: list[Any]) -> Tensor:
    """Return the rows (2, width) whose products with a word's embedding are the side of its object, x and y.

    1 right and down, -1 left and up; 0 for all words but the shapes of two objects.
    """
    scenes = sample_scenes(512, Generator().manual_seed(31))
    captions = [caption(scene) for scene in scenes]
    ids = [tokenize(one, captions) for one in tokenizers]
    wanted = torch.zeros(*ids[0].shape, 2)
    for row, (scene, text) in enumerate(zip(scenes, captions, strict=True)):
        if scene[3] == SINGLE:
            continue
        words = text.split()
        first = torch.tensor(DIRECTIONS[RELATIONS[int(scene[3])]])
        wanted[row, 2] = first  # "a red circle"
        wanted[row, words.index("on") - 1] = -first
    tokens, _ = read(*ids)
    return regress(tokens.flatten(0, 1), wanted.flatten(0, 1))


def regress(given: Tensor, wanted: Tensor) -> Tensor:
    """Return W (k, d) that makes |given W' - wanted|^2 smallest, shrunk: given (n, d), wanted (n, k)."""
    gram = given.T @ given / len(given)
    penalty = RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
    rows: Tensor = torch.linalg.solve(gram + penalty, given.T @ wanted / len(given)).T
    return rows
