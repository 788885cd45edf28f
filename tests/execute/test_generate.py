"""The command line end to end on this machine, with the embedded model, as a user types it."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
import webdataset as wds
from PIL import ExifTags, Image

from jobs import __version__
from jobs.store.rundir import RunDir
from tests import warm
from tests.support import SMALL, command, generate, tar_hashes, write_prompts


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prompts(tmp_path_factory.mktemp("prompts") / "shapes.txt", 6)


@pytest.fixture(scope="module")
def made(prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A finished run (two repeats of six prompts, two workers) and what its command printed.

    An interpreter of its own, as users start it; the commands of the tests are forks (``tests.warm``).
    """
    folder = tmp_path_factory.mktemp("out")
    words = (f"prompt_file={prompts}", f"output_base_path={folder}", "samples_per_prompt=2", "ngpu=2", *SMALL)
    result = subprocess.run(command(*words), capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    return folder / "demo-shapes", result


@pytest.mark.slow
def test_layout_and_last_line(made) -> None:
    run, result = made
    found = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and "logs" not in path.parts}
    shards = [f"{folder}/{shard:05d}.{suffix}" for shard in range(4)
              for folder, suffix in (("data", "tar"), ("meta", "parquet"), ("done", "json"))]  # fmt: skip
    assert found == {"run.json", "config.yaml", "preview.png", "report.html", "work/publish.lock", *shards}
    last = result.stdout.strip().splitlines()[-1]
    assert f"{run}/data/*.tar" in last and f"{run}/preview.png" in last
    assert "12/12" in result.stderr  # the progress bar
    with Image.open(run / "preview.png") as sheet:
        assert sheet.width > 600 and sheet.getcolors(1 << 20)


def test_every_sample_is_whole_and_says_what_it_is(made, prompts) -> None:
    run, _ = made
    rows = list(wds.WebDataset(sorted(map(str, run.glob("data/*.tar"))), shardshuffle=False).decode("pil"))
    texts = prompts.read_text().splitlines()
    assert [row["__key__"] for row in rows] == [f"{i:08d}_{r:04d}" for i in range(6) for r in range(2)]
    assert [row["txt"] for row in rows] == [text for text in texts for _ in range(2)]
    for row in rows:
        info = row["json"]
        assert set(row) >= {"png", "txt", "json"} and row["png"].size == (64, 64)
        assert None not in info.values()
        assert (info["prompt"], info["num_inference_steps"], info["height"]) == (row["txt"], 8, 64)
        assert info["algo"]["name"] == "spectrum" and info["algo"]["w"] == 0.5
        assert info["evaluated_steps"] == 6  # of 8: warm-up 0-4, then every second
        assert set(info["versions"]) >= {"torch", "diffusers"}
    assert len({row["json"]["seed"] for row in rows}) == 12
    assert len({row["png"].tobytes() for row in rows}) == 12  # every repeat drew noise of its own


def test_huggingface_datasets_reads_it_with_one_schema(made, tmp_path) -> None:
    run, _ = made
    files = sorted(map(str, run.glob("data/*.tar")))
    loaded = datasets.load_dataset("webdataset", data_files=files, split="train", cache_dir=str(tmp_path))
    assert loaded.num_rows == 12
    assert loaded[0]["json"]["guidance_scale"] == 2.0
    assert isinstance(loaded[11]["json"]["seed"], int)


def test_the_sidecar_says_what_samples_are_and_holds_what_varies(made, prompts) -> None:
    run, _ = made
    rows = [row for path in sorted(run.glob("meta/*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert len(rows) == 12 and {row["status"] for row in rows} == {"ok"}
    assert all(row["seconds"] > 0 and row["host"] and row["attempt"] and len(row["sha256"]) == 64 for row in rows)
    assert [row["prompt"] for row in rows] == [text for text in prompts.read_text().splitlines() for _ in range(2)]
    assert {(row["height"], row["width"], row["num_inference_steps"], row["reason"]) for row in rows} == {
        (64, 64, 8, "")
    }
    tars = wds.WebDataset(sorted(map(str, run.glob("data/*.tar"))), shardshuffle=False).decode()
    assert [(row["key"], row["seed"]) for row in rows] == [(one["__key__"], one["json"]["seed"]) for one in tars]
    assert {row["version"] for row in rows} == {json.loads((run / "run.json").read_text())["version"]} == {__version__}


@pytest.mark.slow
def test_the_same_command_again_does_nothing(made, prompts) -> None:
    run, _ = made
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.*") if path.name != "preview.png"}
    again = generate(
        f"prompt_file={prompts}", f"output_base_path={run.parent}", "samples_per_prompt=2", "ngpu=1", *SMALL
    )
    assert again.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.*") if path.name != "preview.png"} == before


@pytest.mark.slow
def test_status_from_the_files(made) -> None:
    run, _ = made
    result = warm.run(command(str(run), module="jobs.status"))
    assert result.returncode == 0
    assert "12 of 12 samples, 4 of 4 shards done" in result.stdout
    as_json = warm.run(command(str(run), "--json", module="jobs.status"))
    assert json.loads(as_json.stdout)["samples_per_second"] > 0
    missing = warm.run(command(str(run / "no"), module="jobs.status"))
    assert missing.returncode == 2 and missing.stderr.startswith("error: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        ("hydra/launcher=basic",),
        ("hydra/launcher=submitit_local", "ngpu=2"),
        ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "shards_per_task=1"),
    ],
    ids=lambda launcher: launcher[0].partition("=")[2],
)
def test_every_launcher_fans_out_to_the_same_bytes(made, prompts, launcher, tmp_path) -> None:
    run, _ = made
    folder = tmp_path / "it's"
    arguments = (f"prompt_file={prompts}", f"output_base_path={folder}", "samples_per_prompt=2", *SMALL)
    missing = shutil.ignore_patterns("00001.*", "00003.*", "launch-*")
    half = shutil.copytree(run, folder / "demo-shapes", ignore=missing)
    assert sorted(tar_hashes(half)) == ["00000.tar", "00002.tar"]
    made = generate("-m", *launcher, *arguments)
    assert made.returncode == 0, made.stderr
    assert re.search(r"launching \d tasks for 2 shards", made.stdout)  # exactly the unfinished ones
    assert tar_hashes(half) == tar_hashes(run)


@pytest.mark.slow
def test_a_sweep_makes_a_run_of_each_combination(prompts, tmp_path) -> None:
    result = generate(
        "-m", f"prompt_file={prompts}", f"output_base_path={tmp_path}", *SMALL, "algo.w=0.5,1.0", "total_prompt_num=3"
    )
    assert result.returncode == 0, result.stderr
    runs = sorted(path for path in tmp_path.iterdir() if (path / "run.json").exists())
    assert [path.name for path in runs] == ["demo-shapes--algo.w=0.5", "demo-shapes--algo.w=1.0"]
    assert [json.loads((path / "run.json").read_text())["identity"]["algo"]["w"] for path in runs] == [0.5, 1.0]
    assert tar_hashes(runs[0]) != tar_hashes(runs[1])


@pytest.mark.slow
def test_one_bad_prompt_fails_one_sample(tmp_path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    rows = [{"prompt": f"a red {shape} on a white background"} for shape in ("circle", "square", "star", "cross")]
    rows[1]["guidance_scale"] = 1e300  # overflows float32
    prompts.write_text("\n".join(map(json.dumps, rows)))
    arguments = (f"prompt_file={prompts}", f"output_base_path={tmp_path}", "exp_name=run", *SMALL)
    run = RunDir(tmp_path / "run")

    first = generate(*arguments)
    assert first.returncode == 1
    assert "sample 00000001_0000" in first.stdout and "not finite" in first.stdout
    assert run.done_shards() == {1}
    assert "is not published, because samples failed" in first.stdout

    again = generate(*arguments)
    assert again.returncode == 1 and run.done_shards() == {0, 1}
    assert "given up 1: 1 the model's output is not finite" in again.stdout
    rows = pq.read_table(run.sidecar(0)).to_pylist()
    assert [(row["status"], row["prompt"], row["guidance_scale"]) for row in rows] == [
        ("ok", "a red circle on a white background", 2.0),
        ("failed", "a red square on a white background", 1e300),
        ("ok", "a red star on a white background", 2.0),
    ]
    assert rows[1]["reason"].startswith("the model's output is not finite") and rows[1]["seed"] > 0
    assert generate(*arguments).returncode == 0


@pytest.mark.slow
def test_formats_and_the_plain_pipeline(prompts, tmp_path) -> None:
    for image_format in ("jpg", "webp"):
        result = generate(
            f"prompt_file={prompts}", f"output_base_path={tmp_path}", f"exp_name={image_format}",
            f"image_format={image_format}", "algo=nocache", "num_inference_steps=2", "total_prompt_num=2",
            "parameters=true",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        rows = list(wds.WebDataset(str(tmp_path / image_format / "data/00000.tar"), shardshuffle=False).decode("pil"))
        assert [row[image_format].size for row in rows] == [(64, 64)] * 2
        for row in rows:
            said = row[image_format].getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
            assert said.decode("utf-16-be").endswith(
                f"{row['txt']}\nSteps: 2, Sampler: {row['json']['scheduler']}, CFG scale: 2.0, "
                f"Seed: {row['json']['seed']}, Size: 64x64, Model: demo"
            )
            assert b"trainedAlgorithmicMedia" in row[image_format].info["xmp"]
        assert rows[0]["json"]["algo"]["name"] == "nocache" and rows[0]["json"]["evaluated_steps"] == 2


@pytest.mark.slow
def test_a_task_that_cannot_begin_says_why(prompts, tmp_path) -> None:
    """The prompt file changes between submission and start, so that the task cannot even read its run."""
    own = tmp_path / "p.txt"
    own.write_text(prompts.read_text())
    (tmp_path / "sitecustomize.py").write_text(
        f"import os\nif 'SUBMITIT_EXECUTOR' in os.environ: open({str(own)!r}, 'w').write('another prompt')\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    arguments = (f"prompt_file={own}", f"output_base_path={tmp_path / 'out'}", "exp_name=run", *SMALL)
    result = generate("-m", "hydra/launcher=submitit_local", *arguments, PYTHONPATH=path)
    assert result.returncode == 1
    assert "problem: task " in result.stdout
    assert "p.txt was changed since this command began: run the command again" in result.stdout, result.stdout
