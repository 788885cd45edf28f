"""What the card says of how samples were made: what they and their run say, and nothing that was not measured."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.export.runs import HOW, finished_run, lines
from tests.export.test_export import export

NOT_MEASURED = "was not measured for 5 of the samples"


def card(folder: Path, **made: Any) -> str:
    """The card of an export of five samples."""
    path = finished_run(folder, lines(5), **made).directory.path
    export(path, folder / "out")
    return (folder / "out/README.md").read_text()


def algo(**more: Any) -> dict[str, Any]:
    """How samples were forecast."""
    return {"algo": {**HOW["algo"], **more}}


def test_quality_that_nobody_measured_is_not_told(tmp_path) -> None:
    text = card(tmp_path)
    assert NOT_MEASURED in text and "PSNR" not in text


def test_quality_is_what_the_run_measured_of_its_calibration(tmp_path) -> None:
    text = card(tmp_path, how=algo(weights="calibrated", expected_psnr=43.21, expected_ssim=0.9876))
    assert "with 3 of 50 steps evaluated, PSNR 43.2 dB and SSIM 0.988 on the average (5 samples here)" in text
    assert "spectrum, features, calibrated, window" in text and "not measured" not in text


def test_quality_is_what_audits_found(tmp_path) -> None:
    found = {
        0: {"key": "", "psnr": 40.0, "ssim": 0.9, "floor": 30},
        3: {"key": "", "psnr": 50.0, "ssim": 1.0, "floor": 30},
    }
    text = card(tmp_path, audits=found)
    assert "2 of these samples were made with every step as well" in text and "not measured" not in text
    assert "PSNR median 45.0 dB, 5th percentile 40.5, worst 40.0; SSIM median 0.950, worst 0.900" in text
    rows = pq.read_table(tmp_path / "out/metadata.parquet").to_pylist()
    assert [row["audit_psnr"] for row in rows] == [40.0, None, None, 50.0, None]
    assert json.loads((tmp_path / "out/stats.json").read_text())["audits"]["samples"] == 2


def test_nothing_is_said_of_forecasts_where_every_step_was_run(tmp_path) -> None:
    text = card(tmp_path, how=algo(name="nocache", target="", weights="", schedule=""))
    assert "forecast rather than run" not in text and "not measured" not in text


def test_how_the_weights_were_loaded_and_run_is_told(tmp_path) -> None:
    loras = [{"file": "style_a.safetensors", "sha256": "ab" * 32, "scale": 0.8}]
    common = {
        "variant": "fp16",
        "loras": json.dumps(loras),
        "fuse_loras": True,
        "quantization": json.dumps({"transformer": "int8", "torchao": "0.15.0"}),
        "vae_dtype": "bfloat16",
        "environment": {
            "device": "cuda",
            "name": "A GPU",
            "attention": "flash",
            "compile": "blocks",
            "offload": "none",
        },
    }
    text = card(tmp_path, common=common)
    for said in (
        *("| fp16 |", r"style\_a.safetensors (scale 0.8, sha256 abababababababab), added into the weights"),
        *("transformer int8, torchao 0.15.0", "float32, VAE bfloat16", "| cuda | A GPU | flash | blocks | 5 |"),
    ):
        assert said.replace("(", r"\(").replace(")", r"\)") in text, said
    (row, *_) = pq.read_table(tmp_path / "out/metadata.parquet").to_pylist()
    assert (row["variant"], row["fuse_loras"], row["environment_compile"]) == ("fp16", True, "blocks")


def test_what_is_not_set_takes_no_column(tmp_path) -> None:
    text = card(tmp_path)
    assert "| model | checkpoint | revision | pipeline | sampler | dtype | samples |" in text
    assert "| device | name | attention | samples |" in text


@pytest.mark.slow
def test_a_real_run_says_all_that_the_card_tells(tmp_path) -> None:
    """The stand-ins of these tests have the fields of a real sample's json."""
    from tests.export.runs import COMMON
    from tests.support import SMALL, generate, write_prompts

    prompts = write_prompts(tmp_path / "p.txt", 3)
    done = generate(f"prompt_file={prompts}", f"output_base_path={tmp_path}", "exp_name=run", "audit_every=2", *SMALL)
    assert done.returncode == 0, done.stderr
    export(tmp_path / "run", tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text()
    assert "2 of these samples were made with every step as well" in text
    table = pq.read_table(tmp_path / "out/metadata.parquet")
    flat = {name for name, value in {**COMMON, **HOW}.items() if not isinstance(value, dict)}
    for name in ("environment", "versions", "algo"):
        flat |= {f"{name}_{one}" for one in {**COMMON, **HOW}[name]}
    assert flat <= {*table.column_names}
    assert {one for one in table.column_names if one.startswith(("environment_", "versions_", "algo_"))} <= flat


def test_of_a_very_long_prompt_the_beginning_is_shown(tmp_path) -> None:
    path = finished_run(tmp_path, "a red circle " * 20_000).directory.path
    export(path, tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert "| a red circle a red" in card and len(card) < 10_000


def test_of_very_many_reasons_the_most_frequent_are_shown(tmp_path) -> None:
    fails = {number: f"ValueError: {max(number, 3)}" for number in range(100)}
    path = finished_run(tmp_path, lines(105), "shard_size=105", fails=fails).directory.path
    export(path, tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text()
    table = text.partition("| given up because | samples |")[2].partition("\n\n")[0].splitlines()
    assert table[2] == "| ValueError: 3 | 4 |" and len(table) == 2 + 50 + 1
    assert table[-1] == "| ... and 47 more, in `stats.json` |  |"
    assert len(json.loads((tmp_path / "out/stats.json").read_text())["reasons"]) == 97
