"""Train the embedded models: ``python -m tools.training COMMAND``, each command also with ``video-`` or ``unet-``.

A training can be stopped and repeated: it goes on from its last checkpoint in ``--work``.
"""

import argparse
import sys
from pathlib import Path

import torch

from jobs.model import demo

COMMANDS = ["autoencoder", "denoiser", "export", "score", "places"]
MODELS = {"": "image", "video-": "video", "unet-": "unet"}


def main(arguments: list[str] | None = None) -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=choices())
    parser.add_argument("--work", type=Path, help="checkpoints, curves (default: outputs/train-demo[-MODEL])")
    parser.add_argument("--minutes", type=float, help="time budget of a training, over all its runs")
    parser.add_argument("--freeze-encoder", action="store_true", help="train the autoencoder's decoder alone")
    parser.add_argument("--target", type=Path, help="the pipeline's directory (default: the embedded model's own)")
    parser.add_argument("--prompts", type=int, default=200, help="of either kind to score on")
    parser.add_argument("--steps", type=int, default=28, help="denoising steps of a score")
    parser.add_argument("--guidance", type=float, default=1.0, help="classifier-free guidance of a score")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    prefix = next(prefix for prefix in reversed(MODELS) if options.command.startswith(prefix))
    run(options, options.command.removeprefix(prefix), MODELS[prefix])
    return 0


def choices() -> list[str]:
    """Return all commands. The UNet model has the image model's autoencoder, and places to learn."""
    names = [prefix + command for prefix in MODELS for command in COMMANDS]
    return [name for name in names if name not in ("unet-autoencoder", "places", "video-places")]


def run(options: argparse.Namespace, command: str, name: str) -> None:
    """Run a command of one of the models."""
    work = options.work or Path("outputs/train-demo" if name == "image" else f"outputs/train-demo-{name}")
    target = options.target or demo.HERE / name
    # Slow to import; --help and mistakes do without.
    from tools.training import autoencoders, denoisers, score
    from tools.training.export import export
    from tools.training.image.denoiser import TASK as IMAGE
    from tools.training.unet.denoiser import TASK as UNET
    from tools.training.video.denoiser import TASK as VIDEO

    task = {"image": IMAGE, "video": VIDEO, "unet": UNET}[name]
    if command == "autoencoder":
        autoencoders.train(task.autoencoder, work, options.minutes or 20, options.freeze_encoder)
    elif command == "denoiser":
        denoisers.train(task, work, options.minutes or 60)
    elif command == "places":
        from tools.training.unet.places import point

        print(f"pointed {point(task, work)} attentions")
    elif command == "export":
        print(f"wrote {target}: step {export(task, work, target)}")
    else:
        score.score(task.autoencoder.domain, target, options.prompts, options.steps, options.guidance)


if __name__ == "__main__":
    sys.exit(main())
