"""Which runs calibrate themselves, on which of their samples, and what they begin with."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spectrum
from jobs.base.errors import BadInput
from jobs.model import calibration_cache
from jobs.report.dryrun import describe
from jobs.report.warn import calibrates
from jobs.run.calibration import calibration_key, choose_samples, parts_key
from jobs.run.open import create, open_run
from jobs.run.run import Run
from jobs.store.atomic import write_json
from tests.support import config

FLUX = ("model=flux", "model.path=none/none")
LARGE = ("samples_per_prompt=60",)  # of four prompts: as many as it takes


@pytest.fixture(autouse=True)
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a prompt file, to work in, and a cache of its own."""
    (tmp_path / "style.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")  # of no weights
    (tmp_path / "p.txt").write_text("a cat\na dog\na cow\na hen\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def opened(*overrides: str) -> Run:
    return open_run(config("prompt_file=p.txt", "output_base_path=out", "exp_name=run", *FLUX, *overrides))


def begin(*overrides: str) -> Run:
    run = opened(*overrides)
    create(run)
    return run


def publish(run: Run) -> None:
    run.directory.tar(0).write_bytes(b"tar")
    write_json(run.directory.done_record(0), {"shard": 0, "samples": 16, "failed": []})


def weights(run: Run) -> tuple[str, str | None]:
    assert run.forecast
    said = run.forecast.described()
    return said["weights"], said["calibration"]


MEASURED = {"count": 14, "evaluated": 14, "schedule": "searched", "samples": 8, "psnr": {"mean": 40.0, "worst": 30.0}}


def made(run: Run, **source: Any) -> spectrum.Calibration:
    """A calibration as the run would make it."""
    assert run.forecast
    key, _ = calibration_key(run.options, run.checkpoint, run.forecast, run.layout)
    steps = np.arange(50)
    gram = np.exp(-(((steps[:, None] - steps) / 50) ** 2))[None]
    return spectrum.Calibration({50: gram}, {"key": key, "quality": {"50": MEASURED}, **source}, {50: gram})


AUTO, PUBLISHED = ("calibrated", "auto"), ("chebyshev", None)


# --- which runs


def test_a_large_run_calibrates_itself_and_says_what_it_takes():
    run = opened(*LARGE)
    assert weights(run) == AUTO and run.forecast and run.forecast.pending
    assert calibrates(run) == (
        "this run calibrates itself first: 24 samples more than its 240, with every step evaluated, and most of them "
        "with forecasts too, to choose and measure these (algo.calibration=none forecasts as published)"
    )
    assert "  steps: 14 of 50 evaluated, those that the run's own calibration finds best\n" in describe(run)


def test_a_small_run_is_forecast_as_published_and_says_why():
    run = opened("samples_per_prompt=59")
    assert weights(run) == PUBLISHED
    assert calibrates(run) == (
        "forecasts are as published, because a run of fewer than 240 samples does not calibrate itself "
        "(algo.calibration=auto makes it)"
    )
    assert weights(opened("algo.calibration=auto")) == AUTO
    assert weights(opened("samples_per_prompt=59", "algo.calibration_prompts=8")) == AUTO


def test_a_quality_needs_samples_to_measure_it_on(at: Path):
    for overrides, steps, has, least in (
        (("total_prompt_num=2",), 50, 2, 3),
        (("total_prompt_num=1", "algo.calibration_prompts=1"), 50, 1, 2),
        (("prompt_file=p.csv",), 20, 1, 3),
    ):
        (at / "p.csv").write_text("prompt,num_inference_steps\na cat,\na dog,\na cow,\na hen,20\n")
        opened("algo.calibration=auto", *overrides)
        with pytest.raises(BadInput) as refused:
            opened("algo.quality=40", *overrides)
        assert str(refused.value) == (
            f"algo.quality is measured on samples that are kept apart, and of those with {steps} steps this run has "
            f"{has}: make at least {least}, or give algo.evaluations instead"
        )
    run = opened("algo.quality=40", "total_prompt_num=3")
    assert "  steps: the fewest of 50 evaluated that reach algo.quality=40, which" in describe(run)

    # With what the cache has measured it needs none.
    known = made(run)
    known.source["quality"]["50"] = {**MEASURED, "asked": 40.0}
    calibration_cache.keep(known.source["key"], known.to_json().encode())
    begun = begin("algo.quality=40", "total_prompt_num=2", "exp_name=small")
    assert begun.directory.read()["calibration"] == known.digest
    again = opened("algo.quality=40", "total_prompt_num=2", "exp_name=small")
    assert again.forecast and not again.forecast.pending


def test_a_run_that_was_begun_otherwise_goes_on_so():
    """Also one of before runs calibrated themselves: its record is the same."""
    publish(begin(*LARGE, "algo.calibration=none"))
    assert weights(opened(*LARGE)) == PUBLISHED
    with pytest.raises(BadInput, match=r"algo\.calibration was null, is auto"):
        opened(*LARGE, "algo.calibration=auto")


def test_a_pilot_goes_on_as_it_was_begun():
    pilot = begin("samples_per_prompt=100", "total_prompt_num=2")
    publish(pilot)
    assert weights(pilot) == PUBLISHED == weights(begin("samples_per_prompt=100"))


def test_a_run_that_asked_for_it_need_not_ask_again():
    publish(begin("algo.calibration=auto"))
    assert weights(opened()) == AUTO


def test_steps_that_too_few_prompts_have_are_left_out(at: Path):
    rows = ["prompt,num_inference_steps"] + ["a cat,"] * 240 + ["a dog,20"] * 10
    (at / "p.csv").write_text("\n".join(rows))
    run = opened("prompt_file=p.csv")
    assert weights(run) == AUTO and set(choose_samples(run.layout, 16)) == {50}
    assert set(choose_samples(opened("prompt_file=p.csv", "total_prompt_num=3").layout, 16)) == {50}
    assert set(choose_samples(run.layout, 32)) == {20, 50}  # none is enough, so that all are


# --- which samples


@pytest.mark.parametrize("recorded", [1, 2, 3, 8, 16])
def test_samples_are_spread_and_some_are_held_back(recorded: int):
    chosen = choose_samples(opened("samples_per_prompt=1000").layout, recorded)[50]
    indices = [one.index for one in chosen.recorded]
    held = [one.index for one in chosen.held]
    assert (len(indices), len(held)) == (recorded, max(1, recorded // 2)) and not {*indices} & {*held}
    every = sorted(indices + held)
    assert every == list(range(0, 10 * len(every), 10))


def test_a_grown_run_takes_the_samples_of_its_pilot():
    pilot, whole = (choose_samples(opened(*LARGE, f"total_prompt_num={count}").layout, 4) for count in (1, 4))
    assert pilot == whole


def test_a_run_of_few_samples_takes_all():
    chosen = choose_samples(opened().layout, 16)[50]
    assert sorted(one.index for one in (*chosen.recorded, *chosen.held)) == [0, 1, 2, 3]
    assert len(chosen.held) == 1


# --- what it is kept by


OTHERS = [
    (("guidance_scale=5",), False),
    (("num_inference_steps=28",), False),
    (("height=2048", "width=2048"), False),
    (("height=960",), True),  # nearly the same size
    (("model.dtype=float32",), False),
    (("+model.scheduler_args.shift=5",), False),
    (("algo.target=output",), False),
    (("algo.calibration_prompts=8",), False),
    (("model.variant=fp16",), False),
    (("model.quantization={transformer: int8}",), False),
    (("model.loras=[{path: style.safetensors}]",), False),
    (("model.vae=lab/vae",), True),  # which no step depends on
    (("model.transformer=lab/denoiser",), False),
    (("seed=3",), True),
    (("algo.evaluations=8",), True),
]


@pytest.mark.parametrize(("overrides", "same"), OTHERS)
def test_what_a_calibration_is_kept_by(overrides: tuple[str, ...], same: bool):
    keys = []
    for run in (opened(*LARGE), opened(*LARGE, *overrides)):
        assert run.forecast
        keys.append(calibration_key(run.options, run.checkpoint, run.forecast, run.layout))
    assert (keys[0] == keys[1]) == same and all(shared for _, shared in keys)


def test_pictures_in_the_making_are_of_one_autoencoder():
    plain, other = opened(*LARGE), opened(*LARGE, "model.vae=lab/vae")
    assert parts_key("key", plain.checkpoint, {}) != parts_key("key", other.checkpoint, {})


def test_where_prompts_set_what_it_depends_on_it_is_not_shared(at: Path):
    (at / "p.csv").write_text("prompt,guidance_scale\na cat,2\na dog,\n")
    run = opened("prompt_file=p.csv", "algo.calibration=auto")
    assert run.forecast
    assert not calibration_key(run.options, run.checkpoint, run.forecast, run.layout)[1]


def test_a_new_run_begins_with_what_the_cache_has_and_one_begun_does_not(at: Path):
    first = begin(*LARGE)
    key = made(first).source["key"]
    calibration_cache.keep(key, made(first).to_json().encode())
    record = first.directory.read()
    assert record["calibration"] == "" and begin(*LARGE).forecast.pending  # type: ignore[union-attr]
    other = begin(*LARGE, "exp_name=other")
    assert other.directory.read()["calibration"] == made(first).digest
    assert other.identity == first.identity
    again = begin(*LARGE, "exp_name=other")
    assert again.forecast and not again.forecast.pending and weights(again) == AUTO
    assert again.forecast.plan(50).evaluated == spectrum.CalibratedRule(made(first)).schedule(50, 14)
    assert again.directory.read()["quality"] == {"50": MEASURED}


@pytest.mark.parametrize(
    "other", ["algo.evaluations=9", "algo.schedule=window", "algo.quality=40", "model.vae=lab/vae"]
)
def test_what_the_cache_has_not_measured_is_laid_aside(other: str):
    first = begin(*LARGE)
    calibration_cache.keep(made(first).source["key"], made(first).to_json().encode())
    run = begin(*LARGE, "exp_name=other", "algo.calibration=auto", other)
    assert run.directory.adopted.exists() and not run.directory.calibration.exists()
    assert run.directory.read()["calibration"] == ""


def test_a_damaged_file_of_the_cache_is_passed_over(at: Path):
    key = made(opened(*LARGE)).source["key"]
    calibration_cache.keep(key, b"{}")
    assert begin(*LARGE).directory.read()["calibration"] == ""
    assert calibration_cache.find(key) is None


def test_a_cache_that_cannot_be_written_is_no_failure(at: Path, caplog: pytest.LogCaptureFixture):
    (at / "cache").write_text("a file")
    calibration_cache.keep("key", b"{}")
    assert "is not kept for later runs" in caplog.text


# --- its file


def test_an_exchanged_calibration_is_refused(at: Path):
    run = begin(*LARGE)
    run.directory.calibration.write_text(made(run).to_json())
    run.directory.pin_calibration(made(run).digest, {})
    assert opened(*LARGE).forecast.calibration.digest == made(run).digest  # type: ignore[union-attr]
    run.directory.calibration.write_text(made(run, remark="another").to_json())
    with pytest.raises(BadInput, match=r"calibration\.json is not the calibration that this run began with: restore"):
        opened(*LARGE)


def test_a_run_with_samples_keeps_its_calibration_whatever_its_key_was():
    """Of an earlier version, which named other things in it."""
    run = begin(*LARGE)
    then = made(run, key="as it was")
    run.directory.calibration.write_text(then.to_json())
    run.directory.pin_calibration(then.digest, {})
    assert opened(*LARGE).forecast.pending  # type: ignore[union-attr]
    publish(run)
    assert opened(*LARGE).forecast.calibration.digest == then.digest  # type: ignore[union-attr]


def test_a_pass_over_failed_samples_has_the_calibration_of_the_run():
    run = begin(*LARGE)
    run.directory.calibration.write_text(made(run).to_json())
    run.directory.pin_calibration(made(run).digest, {"50": MEASURED})
    run.directory.tar(0).write_bytes(b"tar")
    write_json(run.directory.done_record(0), {"shard": 0, "samples": 15, "failed": [3]})
    again = begin(*LARGE, "retry_failed=true")
    assert again.directory.path == run.directory.path / "retry-1"
    assert again.forecast and again.forecast.calibration and again.forecast.calibration.digest == made(run).digest
    assert again.directory.read()["quality"] == {"50": MEASURED}


@pytest.mark.parametrize("option", ["num_inference_steps=28", "model.vae=lab/vae", "algo.quality=40"])
def test_what_a_given_up_run_left_is_not_used(at: Path, option: str):
    run = begin(*LARGE)
    run.directory.calibration.write_text(made(run).to_json())
    other = begin(*LARGE, option)
    assert other.forecast and other.forecast.pending and not other.directory.calibration.exists()
    assert json.loads((other.directory.path / "run.json").read_text())["calibration"] == ""


def test_a_model_that_cannot_be_calibrated_is_forecast_as_published(at: Path):
    run = begin(*LARGE)
    reason = "this model cannot be calibrated: it has two heads"
    impossible = spectrum.Calibration({}, {**made(run).source, "impossible": reason})
    run.directory.calibration.write_text(impossible.to_json())
    again = opened(*LARGE)
    assert calibrates(again) == f"forecasts are as published, because {reason}"
    assert again.forecast and again.forecast.plan(50) == spectrum.StepPlan.build(50, again.forecast.config)
