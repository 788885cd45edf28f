"""Train the embedded models: ``python -m tools.training COMMAND``, each command also with ``video-`` before it.

A training can be stopped and repeated: it goes on from its last checkpoint in ``--work``.
"""

import argparse
import sys
from pathlib import Path

import torch

from jobs.model import demo

COMMANDS = ["autoencoder", "denoiser", "export", "score"]


def main(arguments: list[str] | None = None) -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=COMMANDS + [f"video-{command}" for command in COMMANDS])
    parser.add_argument("--work", type=Path, help="checkpoints, curves (default: outputs/train-demo[-video])")
    parser.add_argument("--minutes", type=float, help="time budget of a training, over all its runs")
    parser.add_argument("--freeze-encoder", action="store_true", help="train the autoencoder's decoder alone")
    parser.add_argument("--target", type=Path, help="the pipeline's directory (default: the embedded model's own)")
    parser.add_argument("--prompts", type=int, default=200, help="of either kind to score on")
    parser.add_argument("--steps", type=int, default=28, help="denoising steps of a score")
    parser.add_argument("--guidance", type=float, default=1.0, help="classifier-free guidance of a score")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    run(options, options.command.removeprefix("video-"), options.command.startswith("video-"))
    return 0


def run(options: argparse.Namespace, command: str, video: bool) -> None:
    """Run a command of one of the two models."""
    work = options.work or Path("outputs/train-demo-video" if video else "outputs/train-demo")
    target = options.target or demo.HERE / ("video" if video else "image")
    # Slow to import; --help and mistakes do without.
    from tools.training import autoencoders, denoisers, score
    from tools.training.export import export
    from tools.training.image.denoiser import TASK as IMAGE
    from tools.training.video.denoiser import TASK as VIDEO

    task = VIDEO if video else IMAGE
    if command == "autoencoder":
        autoencoders.train(task.autoencoder, work, options.minutes or 20, options.freeze_encoder)
    elif command == "denoiser":
        denoisers.train(task, work, options.minutes or 60)
    elif command == "export":
        print(f"wrote {target}: step {export(task, work, target)}")
    else:
        score.score(task.autoencoder.domain, target, options.prompts, options.steps, options.guidance)


if __name__ == "__main__":
    sys.exit(main())
