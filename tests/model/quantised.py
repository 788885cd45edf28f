"""Loads a tiny FLUX with quantised parts, makes a picture, and says what came of it: JSON, in the last line."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from jobs.model.load import load_pipeline
from jobs.model.provenance import provenance
from tests.model.test_loading import begin, picture

ASKED = "model.quantization={transformer: int8, text_encoder_2: float8}"
SPECTRUM = ("algo=spectrum", "algo.target=output", "warmup_steps=2")
STEPS = 6


def main(weights: Path) -> None:
    """Print what the test asserts."""
    run, plain = begin(weights, ASKED, *SPECTRUM, steps=STEPS), begin(weights, *SPECTRUM, steps=STEPS)
    loaded = load_pipeline(run.options.model, run.forecast, run.checkpoint, device="cpu")
    (made,) = loaded([run.layout.sample(0)])
    found = {
        "weight": type(loaded.pipeline.transformer.transformer_blocks[0].attn.to_q.weight).__name__,
        "evaluated": loaded.spectrum.statistics.evaluated_steps,
        "steps": STEPS,
        "said": json.loads(provenance(run.options.model, run.checkpoint, loaded.pipeline)["quantization"]),
        "torchao": version("torchao"),
        "identity": json.dumps(run.identity),
        "plain_identity": json.dumps(plain.identity),
        "differs": bool((made.media != picture(plain)).any()),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
