"""From a table of prompts to a trained classifier: ``python examples/synthesis/synthesis.py FOLDER``.

Each prompt is generated several times, the pictures are measured, the sharpest that shows what its prompt says is
kept, and from the data set of these a small network learns to tell shapes apart. It is tried on pictures that a program
drew. Whatever ended the script, starting it again goes on; a higher ``--samples`` adds to what is there.
"""

import argparse
import json
from pathlib import Path

import torch
import webdataset
from torch import Tensor, nn

from jobs import api
from jobs.model.demo.scenes.image import SINGLE, sample_scenes
from jobs.model.demo.scenes.shapes import SHAPES
from tools.training.image.draw import draw

PROMPTS = Path(__file__).with_name("prompts.csv")  # columns: prompt, and shape, which each sample's json repeats


def make_dataset(folder: Path, given: argparse.Namespace) -> Path:
    """Generate, score, keep the best, export."""
    options = api.Options(
        prompt_file=str(PROMPTS),
        total_prompt_num=given.prompts,
        samples_per_prompt=given.samples,
        output_base_path=str(folder),
        exp_name="shapes",
        num_inference_steps=given.steps,
        guidance_scale=1.0,
        batch_size=8,
    )
    run = api.generate(options, model="demo", launcher=given.launcher, say=print)
    api.score(run, api.ScoreOptions(scorers="basic,shapes"), say=print)
    best = api.ExportOptions(where="shows_prompt", best_of=1, by="sharpness", license="apache-2.0")
    return api.export(run, folder / f"dataset-best-of-{given.samples}", best, say=print)


def read(dataset: Path) -> tuple[Tensor, Tensor]:
    """Read pictures, float32 (n, 3, height, width) in 0..1, and labels, int64 (n,)."""
    tars = sorted(map(str, dataset.glob("train/*.tar")))
    pictures, labels = [], []
    for picture, info in webdataset.WebDataset(tars, shardshuffle=False).decode("torchrgb").to_tuple("png", "json"):
        pictures.append(picture)
        labels.append(SHAPES.index(json.loads(info["metadata"])["shape"]))
    return torch.stack(pictures), torch.tensor(labels)


def outline(pictures: Tensor) -> Tensor:
    """Return how far each pixel is from the background, which the first one shows: (n, 1, height, width) in 0..1."""
    distance = (pictures - pictures[:, :, :1, :1]).abs().mean(1, keepdim=True)
    return distance / distance.amax((2, 3), keepdim=True).clamp(min=1e-3)


def train(pictures: Tensor, labels: Tensor, steps: int = 240) -> nn.Module:
    """Train a network of three convolutions on outlines that are shifted and mirrored at random."""
    layers = [
        layer
        for channels, more in ((1, 16), (16, 32), (32, 64))
        for layer in (nn.Conv2d(channels, more, 5, stride=2, padding=2), nn.BatchNorm2d(more), nn.ReLU())
    ]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * 64, len(SHAPES)))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    outlines = outline(pictures)
    for _ in range(steps):
        batch = torch.randint(len(labels), (32,))
        seen = torch.roll(outlines[batch], torch.randint(-8, 9, (2,)).tolist(), (2, 3))
        seen = torch.where(torch.rand(32, 1, 1, 1) < 0.5, seen, seen.flip(3))
        loss = nn.functional.cross_entropy(model(seen), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, count: int = 600) -> float:
    """Return the share of drawn pictures whose shape the network tells."""
    generator = torch.Generator().manual_seed(1)
    scenes = sample_scenes(8 * count, generator)
    scenes = scenes[scenes[:, 3] == SINGLE][:count]
    told = model(outline((draw(scenes, generator) + 1) / 2)).argmax(1)
    return float((told == scenes[:, 2]).float().mean())


def main() -> None:
    """Make the data set, train, and print the accuracy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where everything goes")
    parser.add_argument("--launcher", help="generate on a cluster: submitit_slurm; default: on this machine")
    parser.add_argument("--prompts", type=int, default=96, help="take the first so many of prompts.csv (%(default)s)")
    parser.add_argument("--samples", type=int, default=2, help="pictures of each prompt (%(default)s)")
    parser.add_argument("--steps", type=int, default=28, help="denoising steps (%(default)s)")
    given = parser.parse_args()
    torch.manual_seed(0)
    dataset = make_dataset(given.folder, given)
    pictures, labels = read(dataset)
    model = train(pictures, labels)
    print(f"trained on {len(labels)} pictures: {accuracy(model):.1%} of drawn ones told apart, by chance {1 / 6:.1%}")


if __name__ == "__main__":
    main()
