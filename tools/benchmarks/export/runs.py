"""A finished run of noise: what an export reads, without a model."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jobs.options.compose import compose_options
from jobs.run.open import create, open_run
from jobs.run.run import Run
from jobs.store.attempt import Attempt
from jobs.store.writer import Writer

# The json of a sample of the embedded model, but for what tells samples apart.
COMMON: dict[str, Any] = {
    "model": "demo",
    "checkpoint": "embedded:image",
    "revision": "b8c4673205cc4ad5",
    "pipeline": "FluxPipeline",
    "scheduler": "FlowMatchEulerDiscreteScheduler",
    "scheduler_config": '{"num_train_timesteps": 1000, "shift": 1.0, "use_dynamic_shifting": false}',
    "variant": "",
    "loras": "[]",
    "fuse_loras": False,
    "quantization": "{}",
    "dtype": "float32",
    "vae_dtype": "float32",
    "vae_tiling": False,
    "environment": {
        **{name: "" for name in ("cuda", "cudnn", "matmul", "convolution", "tf32_override", "parallel")},
        **{"device": "cpu", "name": "noise", "capability": "", "attention": "native", "offload": "none"},
        **{"compile": "none", "cpu_threads": 1},
    },
    "version": "0.3.0",
    "versions": {name: "1.0.0" for name in ("torch", "diffusers", "transformers", "numpy", "pillow", "ftfy", "ffmpeg")},
}
HOW: dict[str, Any] = {
    "evaluated_steps": 14,
    "algo": {
        **{
            "name": "spectrum",
            "target": "features",
            "weights": "calibrated",
            "calibration": "",
            "schedule": "searched",
        },
        **{"expected_psnr": 45.6, "expected_ssim": 0.987},
        **{"w": 0.0, "lam": 0.0, "m": 0, "horizon": 0, "force_last": 0, "warmup_steps": 0, "window_size": 0.0},
        "flex_window": 0.0,
        "evaluated": [0, 1, 2, 3, 4, 7, 11, 15, 20, 25, 31, 37, 43, 49],
    },
    "batch": 4,
    "batch_position": 0,
    "call": '{"height": 64, "width": 64, "num_inference_steps": 50, "output_type": "np"}',
    "encoders": [{"encoder": "text_encoder", "tokens": 13, "limit": 16}],
    "flagged": False,
}


class Noise:
    """Files of noise that pass for png."""

    name, fps, mark, parameters = "png", None, False, False
    _random: ClassVar = np.random.default_rng(0)

    def encode(self, media: "np.ndarray", parameters: str = "", /) -> bytes:
        """Return as many bytes as the number that ``media`` holds."""
        del parameters
        return self._random.bytes(int(media[0]))


def make_run(folder: Path, name: str, samples: int, shards: int, picture_bytes: int) -> Run:
    """Make a finished run.

    Args:
        folder: where its directory is to be.
        name: its name.
        samples: how many samples it has, of a prompt each.
        shards: how many shards these are in.
        picture_bytes: the mean size of a picture; they differ by up to a quarter.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prompts = folder / f"{name}.txt"
    prompts.write_text("\n".join(f"a red circle, number {number}, of {name}" for number in range(samples)))
    size = -(-samples // shards)
    options = (f"output_base_path={folder}", f"exp_name={name}", f"prompt_file={prompts}", f"shard_size={size}")
    run = open_run(compose_options([*options, "device=cpu"]))
    create(run)
    writer = Writer(
        run.layout,
        Noise(),
        {**COMMON, "run": run.name, "run_id": run.id},
        sample_attempts=1,
        in_flight=8,
        report=lambda *event: None,
    )
    dice = np.random.default_rng(1)
    for shard in range(run.layout.num_shards):
        attempt = Attempt(run.directory, shard, fingerprint="noise", device="cpu", log="")
        writer.start(attempt)
        for index in run.layout.shard_range(shard):
            count = int(picture_bytes * dice.uniform(0.75, 1.25))
            writer.add(attempt, run.layout.sample(index), np.array([count]), HOW, 0.0)
        writer.finish(attempt)
    writer.close()
    return run
