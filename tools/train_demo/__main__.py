"""Command line: `python -m tools.train_demo COMMAND`, each command also with `video-` before it."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from jobs import demo

COMMANDS = ["autoencoder", "denoiser", "export", "score"]


def main() -> None:
    """Runs one subcommand."""
    parser = argparse.ArgumentParser(prog="python -m tools.train_demo", description=__doc__)
    parser.add_argument("command", choices=COMMANDS + [f"video-{command}" for command in COMMANDS])
    parser.add_argument("--work", type=Path, help="checkpoints, curves (default: outputs/train-demo[-video])")
    parser.add_argument("--minutes", type=float, help="time budget of a training, over all its runs")
    parser.add_argument("--freeze-encoder", action="store_true", help="train the autoencoder's decoder alone")
    parser.add_argument("--target", type=Path, help="the pipeline's directory (default: jobs/demo/image or video)")
    parser.add_argument("--prompts", type=int, default=200, help="of either kind to score on")
    parser.add_argument("--steps", type=int, default=28, help="denoising steps of a score")
    parser.add_argument("--guidance", type=float, default=1.0, help="classifier-free guidance of a score")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    command, video = args.command.removeprefix("video-"), args.command.startswith("video-")
    work = args.work or Path("outputs/train-demo-video" if video else "outputs/train-demo")
    target = args.target or demo.HERE / ("video" if video else "image")
    # The parts need different libraries, some slow to import: each command loads its own.
    if command == "autoencoder":
        from . import autoencoder, video_autoencoder

        train = video_autoencoder.train if video else autoencoder.train
        train(work, args.minutes or 20, args.freeze_encoder)
    elif command == "denoiser":
        from . import denoiser, video_denoiser

        (video_denoiser.train if video else denoiser.train)(work, args.minutes or 60)
    elif command == "export":
        from . import export

        step = (export.export_video if video else export.export_image)(work, target)
        print(f"wrote {target}: step {step}")
    else:
        from . import score

        score.score(target, args.prompts, args.steps, args.guidance, video)


if __name__ == "__main__":
    main()
