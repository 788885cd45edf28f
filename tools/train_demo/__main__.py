"""Command line: `python -m tools.train_demo autoencoder | denoiser | export | score`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from jobs import demo


def main() -> None:
    """Runs one subcommand."""
    parser = argparse.ArgumentParser(prog="python -m tools.train_demo", description=__doc__)
    parser.add_argument("command", choices=["autoencoder", "denoiser", "export", "score"])
    parser.add_argument("--work", type=Path, default=Path("outputs/train-demo"), help="checkpoints, curves")
    parser.add_argument("--minutes", type=float, help="time budget of a training, over all its runs")
    parser.add_argument("--freeze-encoder", action="store_true", help="train the autoencoder's decoder alone")
    parser.add_argument("--target", type=Path, default=demo.HERE / "image", help="the pipeline's directory")
    parser.add_argument("--prompts", type=int, default=200, help="of either kind to score on")
    parser.add_argument("--steps", type=int, default=28, help="denoising steps of a score")
    parser.add_argument("--guidance", type=float, default=1.0, help="classifier-free guidance of a score")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    # The parts need different libraries, some slow to import: each command loads its own.
    if args.command == "autoencoder":
        from . import autoencoder

        autoencoder.train(args.work, args.minutes or 15, args.freeze_encoder)
    elif args.command == "denoiser":
        from . import denoiser

        denoiser.train(args.work, args.minutes or 60)
    elif args.command == "export":
        from . import export

        print(f"wrote {args.target}: step {export.export(args.work, args.target)}")
    else:
        from . import score

        score.score(args.target, args.prompts, args.steps, args.guidance)


if __name__ == "__main__":
    main()
