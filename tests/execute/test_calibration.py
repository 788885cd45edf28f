"""Runs of the embedded model that calibrate themselves: alone, together, killed and resumed, and from the cache."""

import json
import os
import signal
import tarfile
from pathlib import Path
from typing import Any

import pytest

import spectrum
from jobs.base.errors import BadInput
from jobs.execute import calibration_choice
from jobs.execute.halt import Halt
from jobs.execute.worker import generate_shards
from jobs.model import demo
from jobs.report.status import read_status, render
from jobs.run.run import Run
from tests.support import new_run, tar_hashes, write_prompts
from tests.tiny_pipelines import PIPELINES
from tests.warm.forks import start

PROMPTS = 3  # recorded; one more is held back
SETTINGS = ("num_inference_steps=9", "height=32", "width=32", "shard_size=3", "batch_size=2", "algo.calibration=auto")
FEW = "num_inference_steps=6"  # where several calibrations are needed


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prompts(tmp_path_factory.mktemp("prompts") / "prompts.txt", 6)


def new(folder: Path, prompts: Path, *more: str) -> Run:
    return new_run(folder, f"prompt_file={prompts}", *SETTINGS, f"algo.calibration_prompts={PROMPTS}", *more)


def work(run: Run, die_at: int = 0, cache: str = "") -> None:
    """One process at everything that is unfinished; ``die_at``: kill itself before that sample of the calibration."""
    from jobs.execute import calibration_bench, worker

    os.environ["XDG_CACHE_HOME"] = cache
    made, generate = 0, calibration_bench.generate_batch

    def counted(*arguments: Any) -> Any:
        nonlocal made
        made += 1
        if made == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return generate(*arguments)

    calibration_bench.generate_batch = counted
    worker.generate_shards(run, run.unfinished(), device="cpu", log_path="", report=lambda *event: None)


def ended(run: Run, *processes: int, cache: Path) -> list[int | None]:
    """Work on the run in some processes at once; returns their exit codes."""
    started = [start(work, run, die_at, str(cache)) for die_at in processes]
    for each in started:
        each.join()
    return [each.exitcode for each in started]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_and_resumed_or_two_at_once_it_ends_in_the_same_bytes(tmp_path: Path, prompts: Path, cache: Path):
    alone = new(tmp_path / "alone", prompts)
    assert ended(alone, 0, cache=tmp_path / "unused") == [0]
    calibration = spectrum.Calibration.load(alone.directory.calibration)
    assert calibration.source["trajectories"] == {"9": PROMPTS}
    record = alone.directory.read()
    assert record["calibration"] == calibration.digest
    measured = record["quality"]["9"]
    assert measured == calibration.source["quality"]["9"] and measured["evaluated"] == 7 and measured["samples"] == 1
    assert 20 < measured["psnr"]["worst"] <= measured["psnr"]["mean"] < 99 and 0.5 < measured["ssim"]["mean"] < 1
    assert "standard_error" not in measured["psnr"]  # of one sample
    best, *others = measured["choice"]
    assert calibration.schedules == {9: {7: tuple(best["evaluated"])}} and len(best["evaluated"]) == 7
    assert best["of"] == 6 and best["halves"] <= 6  # three samples have three splits
    assert best["compared"] == PROMPTS and best["score"] >= others[0]["score"]
    assert calibration.fits == {"features": {9: {7: (best["shrinkage"], best["order"])}}}
    said = f"PSNR {measured['psnr']['mean']:.1f} dB (worst {measured['psnr']['worst']:.1f}), SSIM "
    assert said in render("", read_status(alone.directory))
    (first, *_) = jsons(alone)
    assert first["algo"]["expected_psnr"] == measured["psnr"]["mean"]
    assert first["algo"]["expected_ssim"] == measured["ssim"]["mean"]
    assert first["algo"]["calibration"] == calibration.digest and first["evaluated_steps"] == 7
    assert not alone.directory.calibrations_begun() and read_status(alone.directory).calibrating is None

    killed = new(tmp_path / "killed", prompts)
    assert ended(killed, 2, cache=cache) == [-signal.SIGKILL]
    assert not killed.directory.calibration.exists() and not killed.directory.done_shards()
    status = read_status(killed.directory)
    assert status.calibrating == (1, PROMPTS + 1) and f"calibration  1 of {PROMPTS + 1} samples made" in render(
        "", status
    )
    assert ended(killed, 0, cache=cache) == [0]

    together = new(tmp_path / "together", prompts)
    assert ended(together, 0, 0, cache=tmp_path / "unused") == [0, 0]

    hashes = tar_hashes(alone.directory.path)
    assert len(hashes) == 2
    for run in (killed, together):
        assert run.directory.calibration.read_bytes() == alone.directory.calibration.read_bytes()
        assert tar_hashes(run.directory.path) == hashes

    later = new(tmp_path / "later", prompts, "seed=1")
    assert ended(later, 1, cache=cache) == [0]  # it would have died at its first sample
    assert later.directory.calibration.read_bytes() == alone.directory.calibration.read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_calibration_of_the_cache_is_measured_anew_for_other_evaluations(tmp_path: Path, prompts: Path, cache: Path):
    from jobs.execute.calibration import calibrated

    first = calibrated(new(tmp_path / "first", prompts), "cpu", lambda *_: None)
    heard: list[str] = []
    run = new(tmp_path / "other", prompts, "algo.evaluations=4", f"model.vae={demo.path('image')}/vae")
    other = calibrated(run, "cpu", lambda *event: heard.append(event[2]))
    assert heard[-1] == "1 of 1 samples forecast with 4 of 9 steps evaluated"
    assert any(words.startswith("1 of 1 samples made with") for words in heard)
    assert first.forecast and other.forecast
    one, two = (each.forecast.measured(9)["psnr"]["mean"] for each in (first, other))
    assert two < one and len(other.forecast.plan(9).evaluated) == 4
    assert (
        first.forecast.rule.coefficients([0, 1, 2], 3, 9) == other.forecast.rule.coefficients([0, 1, 2], 3, 9)
    ).all()
    assert other.forecast.measured(9)["vae"] == run.checkpoint.vae_pin and "vae" not in first.forecast.measured(9)
    assert not run.directory.adopted.exists()


@pytest.mark.slow
def test_schedules_that_a_calibration_cannot_tell_apart_are_compared_on_samples(tmp_path: Path, prompts, monkeypatch):
    from jobs.execute.calibration import calibrated

    late, early = (0, 5, 6, 8), (0, 1, 3, 6)
    monkeypatch.setattr(calibration_choice, "candidates", lambda *_: {late: 6, early: 0})
    heard: list[str] = []
    run = new(tmp_path, prompts, "algo.evaluations=4")
    run = calibrated(run, "cpu", lambda *event: heard.append(event[2]))
    assert run.forecast and run.forecast.plan(9).evaluated == early
    choice = run.forecast.measured(9)["choice"]
    best, other = choice[0], choice[-1]
    assert ([one["evaluated"] for one in choice]) == [[*early]] * 5 + [[*late]]
    assert best["score"] > other["score"] + 1 and best["psnr"]["worst"] <= best["score"] <= best["psnr"]["mean"]
    assert best["compared"] == other["compared"] == PROMPTS and "standard_error" in best["psnr"]
    assert "3 of 3 samples forecast with schedule 2 of 2, to choose one" in heard
    assert "3 of 3 samples forecast with fit 4 of 4, to choose one" in heard
    said = "schedule  found by 0 of 6 halves of the calibration's samples, the best of 2 on 3 of them"
    assert said in render("", read_status(run.directory))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_fewest_evaluations_of_a_quality_are_found(tmp_path: Path, prompts: Path):
    from jobs.execute.calibration import calibrated

    reached = {}
    for count in range(1, 6):
        run = calibrated(new(tmp_path / str(count), prompts, FEW, f"algo.evaluations={count}"), "cpu", lambda *_: None)
        assert run.forecast
        reached[count] = run.forecast.measured(6)["psnr"]["mean"]
    wanted = reached[4]
    run = calibrated(new(tmp_path / "q", prompts, FEW, f"algo.quality={wanted}"), "cpu", lambda *_: None)
    assert run.forecast
    fewest = min(count for count, psnr in reached.items() if psnr >= wanted)
    assert len(run.forecast.plan(6).evaluated) == fewest
    assert run.identity["algo"]["quality"] == wanted

    far, said = tmp_path / "far", []
    run = new(far, prompts, FEW, "algo.quality=90")
    for command in (lambda: calibrated(run, "cpu", lambda *_: None), lambda: new(far, prompts, FEW, "algo.quality=90")):
        with pytest.raises(BadInput) as caught:
            command()
        said.append(str(caught.value))
    assert said == 2 * [  # the second command knows it before it starts a worker
        f"algo.quality=90 is out of reach: with 5 of 6 steps evaluated the run's samples have {reached[5]:.1f} dB: "
        "ask for less, or use algo=nocache"
    ]
    assert not run.directory.calibration.exists()
    less = calibrated(new(far, prompts, FEW, f"algo.quality={wanted}"), "cpu", lambda *_: None)
    assert less.forecast and len(less.forecast.plan(6).evaluated) == fewest


def test_two_denoisers_are_calibrated_each_for_its_part(tmp_path: Path):
    weights = tmp_path / "weights"
    pipe = PIPELINES["wan14b"]()
    pipe.register_modules(transformer_2=PIPELINES["wan14b"]().transformer)
    pipe.register_to_config(boundary_ratio=0.9)
    pipe.save_pretrained(weights)
    (tmp_path / "p.txt").write_text("a cat\na dog\na cow\n")
    run = new_run(
        tmp_path,
        *("model=wan14b", f"model.path={weights}", "model.dtype=float32", f"prompt_file={tmp_path}/p.txt"),
        *("height=32", "width=32", "num_frames=5", "num_inference_steps=16", "shard_size=3", "batch_size=3"),
        *("algo.calibration=auto", "algo.calibration_prompts=2", "algo.evaluations=3"),
    )
    generate_shards(run, [0], device="cpu", log_path="", report=lambda *_: None)
    calibration = spectrum.Calibration.load(run.directory.calibration)
    (parts,) = calibration.source["parts"].values()
    assert sum(parts) == 16 and len({*parts}) == 2 and calibration.grams.keys() == {*parts}
    rule = spectrum.CalibratedRule(calibration)
    first, second = (rule.schedule(part, 3) for part in parts)
    (info, *_) = jsons(run)
    assert info["algo"]["evaluated"] == [*first, *(parts[0] + step for step in second)]
    assert info["evaluated_steps"] == calibration.source["quality"]["16"]["evaluated"] == 6
    assert (info["algo"]["weights"], info["algo"]["calibration"]) == ("calibrated", calibration.digest)
    assert info["algo"]["expected_psnr"] > 10


def test_a_process_that_is_to_stop_finishes_the_sample_in_hand(tmp_path: Path, prompts: Path):
    run = new(tmp_path, prompts)
    halt = Halt()

    heard: list[str] = []

    def report(event: str, shard: int | None, detail: str) -> None:
        heard.append(event)
        if detail.startswith("1 of"):
            halt.ask("its time limit is near")

    assert generate_shards(run, [0], device="cpu", log_path="", report=report, halt=halt) == 0.0
    assert run.directory.calibration_progress() == (1, PROMPTS + 1) and not list(run.directory.work.glob("*.jsonl"))
    assert heard == ["calibrating", "calibrated", "calibrating"]  # none there, its own one, one there


def jsons(run: Run) -> list[dict[str, Any]]:
    with tarfile.open(run.directory.tar(0)) as archive:
        members = [archive.extractfile(one) for one in archive if one.name.endswith(".json")]
        return [json.loads(one.read()) for one in members if one]


def tried(run: Run, monkeypatch: pytest.MonkeyPatch, error: str) -> Run:
    """The run after its calibration was tried with a model that a recorder refuses."""
    from jobs.execute.calibration import calibrated

    def refuse(*_: Any, **__: Any) -> None:
        raise spectrum.SpectrumError(error)

    monkeypatch.setattr("spectrum.recorder.Recorder.__init__", refuse)
    return calibrated(run, "cpu", lambda *_: None)


def test_a_model_that_cannot_be_calibrated_is_refused_to_who_asked(tmp_path: Path, prompts, monkeypatch):
    run = new(tmp_path, prompts)
    with pytest.raises(BadInput) as caught:
        tried(run, monkeypatch, "it has two heads")
    assert str(caught.value) == (
        "this model cannot be calibrated: it has two heads (algo.calibration=none forecasts as published)"
    )
    assert not run.directory.calibration.exists()


def test_samples_that_fail_fail_the_calibration_and_are_tried_again(tmp_path: Path, prompts: Path):
    from jobs.execute.calibration import calibrated

    rows = [{"prompt": "a red circle", "guidance_scale": 1e300} for _ in range(4)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run = new(tmp_path, tmp_path / "p.jsonl")
    with pytest.raises(RuntimeError, match="3 of the 3 samples of the calibration failed: the model's output is not"):
        calibrated(run, "cpu", lambda *_: None)
    assert not run.directory.calibrations_begun()
