"""Calibrated weights and searched schedules through the runner's options, and calibrations that do not fit."""

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spectrum
from jobs.base.errors import BadInput
from jobs.execute.worker import generate_shards
from jobs.model import demo
from jobs.model.calibration_file import read_calibration
from jobs.report.warn import foreign_calibration, unused_calibration
from jobs.run.run import Run
from tests.support import new_run, resolved, tar_hashes, write_prompts
from tests.tiny_pipelines import save

STEPS = 12
SCHEDULER = json.loads((demo.path("image") / "scheduler" / "scheduler_config.json").read_text())


def gram(n: int) -> np.ndarray:
    """Features that turn slowly: neighbours alike, far ones less so. Two branches, (2, n, n)."""
    steps = np.arange(n)
    one = np.exp(-(((steps[:, None] - steps) / n) ** 2)) * (1 + 0.02 * steps[:, None]) * (1 + 0.02 * steps)
    return np.stack([one, one])


def write(folder: Path, *, n: int = STEPS, outputs: bool = False, **scheduler: Any) -> Path:
    public = {name: value for name, value in SCHEDULER.items() if not name.startswith("_")} | scheduler
    source = {"scheduler": SCHEDULER["_class_name"], "scheduler_config": public}
    path = folder / "calibration.json"
    output_grams = {n: gram(n) ** 2} if outputs else {}
    path.write_text(spectrum.Calibration({n: gram(n)}, source, output_grams).to_json())
    return path


def calibrated(folder: Path, *overrides: str) -> tuple[str, ...]:
    prompts = write_prompts(folder / "prompts.txt", 3)
    options = (f"prompt_file={prompts}", f"num_inference_steps={STEPS}", f"algo.calibration={folder}/calibration.json")
    return (*options, "algo.weights=calibrated", *overrides)


OUTPUT = "algo.target=output"


SEARCHED = ("algo.schedule=searched", "algo.evaluations=6")
WINDOW = "algo.schedule=window"
PUBLISHED = "algo.weights=chebyshev"


def make(run: Run) -> dict[str, Any]:
    """Make the only shard; returns its first sample's json."""
    generate_shards(run, [0], device="cpu", log_path="log", report=lambda *_: None)
    with tarfile.open(run.directory.tar(0)) as archive:
        member = next(member for member in archive if member.name.endswith(".json"))
        data = archive.extractfile(member)
        assert data
        return json.loads(data.read())


def planned(run: Run, steps: int) -> spectrum.StepPlan:
    assert run.forecast
    return run.forecast.plan(steps)


@pytest.mark.slow
def test_calibrated_and_searched_samples_say_so_and_differ(tmp_path: Path):
    digest = json.loads(write(tmp_path).read_text())["sha256"]
    seen = {}
    given = calibrated(tmp_path)[2:]
    cases = {"plain": (PUBLISHED,), "calibrated": (*given, WINDOW), "searched": (*given, *SEARCHED)}
    for name, overrides in cases.items():
        (tmp_path / name).mkdir()
        run = new_run(tmp_path / name, *calibrated(tmp_path)[:2], *overrides)
        info = make(run)
        seen[name] = tar_hashes(run.directory.path)["00000.tar"]
        assert info["algo"]["weights"] == ("chebyshev" if name == "plain" else "calibrated")
        assert info["algo"]["calibration"] == ("" if name == "plain" else digest)
        assert info["evaluated_steps"] == (6 if name == "searched" else 8)
    assert len(set(seen.values())) == 3


def test_the_plan_is_the_calibrations(tmp_path: Path):
    path = write(tmp_path)
    plan = planned(resolved(*calibrated(tmp_path, *SEARCHED)), STEPS)
    rule = spectrum.CalibratedRule(spectrum.Calibration.load(path))
    assert plan.evaluated == rule.schedule(STEPS, 6)
    first = plan.forecast[-1]
    before = [step for step in plan.evaluated if step < first]
    assert plan.coefficients[first] == tuple(rule.coefficients(before, first, STEPS).tolist())


def test_its_contents_and_not_its_place_are_in_the_identity(tmp_path: Path):
    def known(folder: Path) -> Any:
        return resolved(*calibrated(folder)).identity["algo"]["calibration"]

    folders = [tmp_path / name for name in "abc"]
    for folder, n in zip(folders, (STEPS, STEPS, STEPS + 1), strict=True):
        folder.mkdir()
        write(folder, n=n)
    one, same, other = map(known, folders)
    assert one == same != other


def test_other_step_counts_fall_back_with_a_warning(tmp_path: Path):
    write(tmp_path, n=20)
    run = resolved(*calibrated(tmp_path, *SEARCHED))
    assert unused_calibration(run) == (
        f"algo.calibration {tmp_path}/calibration.json was made for 20 steps: "
        "samples of 12 are forecast as with algo.weights=chebyshev"
    )
    plan = planned(run, STEPS)
    default = spectrum.StepPlan.build(STEPS, spectrum.SpectrumConfig())
    assert (plan.evaluated, plan.coefficients) == (default.evaluated, default.coefficients)


def test_another_scheduler_falls_back_with_a_warning_and_the_samples_say_so(tmp_path: Path):
    write(tmp_path, shift=3.0)
    run = new_run(tmp_path, *calibrated(tmp_path, *SEARCHED))
    assert unused_calibration(run) == (
        f"algo.calibration {tmp_path}/calibration.json is not used, because its scheduler's shift was 3.0 and is "
        f"{SCHEDULER['shift']}: forecasts are those of algo.weights=chebyshev"
    )
    info = make(run)
    assert (info["algo"]["weights"], info["algo"]["calibration"], info["algo"]["schedule"]) == (
        "chebyshev",
        "",
        "window",
    )
    assert info["evaluated_steps"] == 8


def test_a_calibration_that_fits_needs_no_warning(tmp_path: Path):
    write(tmp_path)
    assert unused_calibration(resolved(*calibrated(tmp_path))) is None
    assert unused_calibration(resolved("algo=nocache")) is None


@pytest.mark.parametrize("same", [True, False])
def test_a_calibration_of_other_weights_is_used_with_a_warning(same: bool, tmp_path: Path):
    path = write(tmp_path)
    made = spectrum.Calibration.load(path)
    revision = resolved("algo=nocache").checkpoint.revision
    source = {**made.source, "model": {"name": "other", "revision": revision if same else "v1"}}
    path.write_text(spectrum.Calibration(made.grams, source).to_json())
    run = resolved(*calibrated(tmp_path))
    assert foreign_calibration(run) == (
        None
        if same
        else f"algo.calibration {path} was made with model other, revision v1, and this is demo, "
        f"revision {revision}: calibrate this model too, unless the two checkpoints are closely related"
    )


def test_a_calibration_is_not_foreign_to_another_autoencoder(tmp_path: Path):
    made = spectrum.Calibration.load(path := write(tmp_path))
    revision = resolved("algo=nocache").checkpoint.revision
    source = {**made.source, "model": {"name": "demo", "revision": revision}}
    path.write_text(spectrum.Calibration(made.grams, source).to_json())
    assert foreign_calibration(resolved(*calibrated(tmp_path), f"model.vae={demo.path('image')}/vae")) is None


# What is chosen where nothing is said


LARGE = "samples_per_prompt=4"  # of 64 prompts
OWN = str(demo.HERE / "image-calibration.json")
CHOICES = {
    "embedded": ((), ("calibrated", OWN, "searched", 0.5)),
    "one switch": ((PUBLISHED,), ("chebyshev", None, "window", 0.5)),
    "a number of the published form": (("algo.w=0.5",), ("chebyshev", None, "window", 0.5)),
    "another": (("algo.force_last=2",), ("chebyshev", None, "window", 0.5)),
    "both": (("algo.w=1", "algo.weights=calibrated"), ("calibrated", OWN, "searched", 1.0)),
    "its weights alone": ((WINDOW,), ("calibrated", OWN, "window", 0.5)),
    "no calibration": (("algo.calibration=none",), ("chebyshev", None, "window", 0.5)),
    "its own": (("algo.calibration=auto",), ("calibrated", None, "searched", 0.5)),
    "its own of so many": (("algo.calibration_prompts=8",), ("calibrated", None, "searched", 0.5)),
    "another model": (("model=flux", LARGE), ("calibrated", None, "searched", 0.5)),
    "other weights": (("model.path=FOLDER", LARGE), ("calibrated", None, "searched", 0.5)),
    "a small run": (("model=flux",), ("chebyshev", None, "window", 0.5)),
    "a small run that asks": (("model=flux", "algo.evaluations=9"), ("calibrated", None, "searched", 0.5)),
    "another's published form": (("model=flux", LARGE, "algo.w=1"), ("chebyshev", None, "window", 1.0)),
    "another's window": (("model=flux", LARGE, "flex_window=3"), ("chebyshev", None, "window", 0.5)),
    "few steps, all evaluated": (("model=flux", LARGE, "num_inference_steps=4"), ("chebyshev", None, "window", 0.5)),
    "outputs": (("model=flux", LARGE, "algo.target=output"), ("calibrated", None, "searched", 0.5)),
}


@pytest.mark.parametrize(("overrides", "chosen"), CHOICES.values(), ids=CHOICES)
def test_what_is_chosen_where_nothing_is_said(overrides: tuple[str, ...], chosen: tuple[Any, ...], tmp_path: Path):
    save("flux", tmp_path / "weights")  # of another model, in a directory
    given = [override.replace("FOLDER", f"{tmp_path}/weights") for override in overrides]
    forecast = resolved(f"output_base_path={tmp_path}/out", *given).forecast
    assert forecast
    said = forecast.described()
    path = forecast.calibration.path if forecast.calibration else None
    assert (said["weights"], path, said["schedule"], said["w"]) == chosen


def test_a_calibration_given_is_used_and_searched(tmp_path: Path):
    path = write(tmp_path)
    run = resolved(f"algo.calibration={path}", f"num_inference_steps={STEPS}")
    assert run.forecast and run.forecast.calibration and run.forecast.searched
    plan = planned(run, STEPS)
    window = spectrum.SpectrumConfig().evaluated_steps(STEPS)
    assert len(plan.evaluated) == len(window) and plan.evaluated != window


@pytest.mark.parametrize("model", ["demo", "demo-unet", "demo-video"])
@pytest.mark.parametrize(("steps", "flex", "count"), [(50, 0.75, 14), (50, 3, 10), (28, 0.75, 11)])
def test_embedded_models_evaluate_as_often_as_the_window_would_and_elsewhere(
    model: str, steps: int, flex: float, count: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    prompts = write_prompts(tmp_path / "prompts.txt", 3)
    run = resolved(f"model={model}", f"prompt_file={prompts}", f"num_inference_steps={steps}", f"flex_window={flex}")
    plan = planned(run, steps)
    window = spectrum.SpectrumConfig(flex_window=flex).evaluated_steps(steps)
    assert len(plan.evaluated) == len(window) == count and plan.evaluated != window
    assert unused_calibration(run) is None and foreign_calibration(run) is None


def test_embedded_models_at_other_step_counts_are_forecast_as_published_with_a_warning():
    run = resolved("num_inference_steps=30")
    assert unused_calibration(run) == (
        f"algo.calibration {OWN} was made for 28, 50 steps: samples of 30 are forecast as with algo.weights=chebyshev"
    )


# Of the output


@pytest.mark.slow
def test_samples_of_forecast_outputs_say_so_and_differ(tmp_path: Path):
    write(tmp_path, outputs=True)
    seen = {}
    cases = {"features": (PUBLISHED,), "output": (PUBLISHED, OUTPUT), "calibrated": (*calibrated(tmp_path)[2:], OUTPUT)}
    for name, overrides in cases.items():
        (tmp_path / name).mkdir()
        run = new_run(tmp_path / name, *calibrated(tmp_path)[:2], *overrides)
        info = make(run)
        seen[name] = tar_hashes(run.directory.path)["00000.tar"]
        target = "features" if name == "features" else "output"
        assert info["algo"]["target"] == run.identity["algo"]["target"] == target
        assert info["algo"]["weights"] == ("calibrated" if name == "calibrated" else "chebyshev")
        assert info["evaluated_steps"] == 8
    assert len(set(seen.values())) == 3


def test_coefficients_are_the_outputs_and_the_schedule_that_of_the_features(tmp_path: Path):
    path = write(tmp_path, outputs=True)
    plan = planned(resolved(*calibrated(tmp_path, *SEARCHED, OUTPUT)), STEPS)
    made = spectrum.Calibration.load(path)
    assert plan.evaluated == spectrum.CalibratedRule(made).schedule(STEPS, 6)
    last = plan.forecast[-1]
    before = [step for step in plan.evaluated if step < last]
    expected = spectrum.CalibratedRule(made, target="output").coefficients(before, last, STEPS)
    assert plan.coefficients[last] == tuple(expected.tolist())


@pytest.mark.parametrize("model", ["demo", "demo-unet", "demo-video"])
def test_the_embedded_calibrations_are_of_features_and_outputs(model: str):
    said = resolved(f"model={model}", OUTPUT).identity["algo"]
    assert (said["target"], said["weights"], said["schedule"]) == ("output", "calibrated", "searched")
    assert said["calibration"] == resolved(f"model={model}").identity["algo"]["calibration"]


def test_a_calibration_of_features_is_refused_for_the_output(tmp_path: Path):
    path = write(tmp_path)
    with pytest.raises(BadInput) as caught:
        resolved(*calibrated(tmp_path, OUTPUT))
    assert str(caught.value) == (
        f"algo.calibration {path} has nothing of algo.target=output: make it again with python -m jobs.calibrate"
    )


# Refused


REFUSED = [
    (("algo.calibration=none", "algo.weights=calibrated"), "algo.weights=calibrated has nothing to go by with "),
    (("algo.calibration=none", "algo.schedule=searched"), "algo.schedule=searched needs algo.weights=calibrated: add "),
    (("algo.calibration=none", "algo.calibration_prompts=8"), "algo.calibration_prompts belongs to algo.calibration="),
    ((PUBLISHED, "algo.quality=40"), "algo.quality belongs to algo.calibration=auto: add that, or leave it out"),
    (("algo.w=1", "algo.quality=40"), "algo.quality belongs to algo.calibration=auto: add that, or leave it out"),
    (("algo.calibration=c.json", "algo.quality=40"), "algo.quality belongs to algo.calibration=auto: add that, or "),
    (
        ("algo.quality=40", "algo.evaluations=9"),
        "algo.quality chooses the number of evaluations itself: leave algo.evaluations=9 out, or algo.quality",
    ),
    (("algo.quality=40", WINDOW), "algo.quality chooses the number of evaluations itself: leave algo.schedule=window "),
    (("algo.quality=95",), "algo.quality must be a number from 1 to 90, not 95"),
    ((PUBLISHED, "algo.calibration=auto"), "algo.calibration is used by algo.weights=calibrated only: add that, or "),
    ((PUBLISHED, "algo.calibration=c.json"), "algo.calibration is used by algo.weights=calibrated only: add that, "),
    (("algo.weights=calibrated", "algo.calibration=none.json"), "algo.calibration none.json cannot be read (No such "),
    (
        ("algo.weights=calibrated", f"algo.calibration={__file__}"),
        f"algo.calibration: the calibration {__file__} is not ",
    ),
    (("algo.weights=best",), "algo.weights must be one of chebyshev, calibrated, not 'best'"),
    (
        ("model=flux", "algo.w=1", "algo.schedule=searched"),
        "algo.schedule=searched needs algo.weights=calibrated: add ",
    ),
    (
        ("model=flux", PUBLISHED, "algo.evaluations=10"),
        "algo.evaluations belongs to algo.schedule=searched: add that, or set flex_window ",
    ),
    (("algo.target=noise",), "algo.target must be one of features, output, not 'noise'"),
    (("algo=nocache", OUTPUT), "algo.target=output is an option of algo=spectrum, and algo=nocache evaluates every "),
    (("algo.evaluations=0",), "algo.evaluations must be a whole number of at least 1, not 0"),
]


@pytest.mark.parametrize(("overrides", "sentence"), REFUSED)
def test_what_does_not_go_together_is_refused(overrides: tuple[str, ...], sentence: str):
    with pytest.raises(BadInput) as caught:
        resolved(*overrides)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_a_calibration_is_read_and_searched_once_and_again_when_it_changed(tmp_path: Path):
    path = Path(write(tmp_path))
    first = read_calibration(str(path))
    assert read_calibration(str(path)) is first
    forecast = resolved(f"algo.calibration={path}", f"num_inference_steps={STEPS}").forecast
    assert forecast
    first_search, second_search = forecast.schedule, forecast.schedule
    assert first_search and second_search and first_search(STEPS) is second_search(STEPS)
    path.write_text(spectrum.Calibration(first.grams, {**first.source, "remark": "made again"}).to_json())
    os.utime(path, (1, 1))  # however coarse the file system's clock is
    assert read_calibration(str(path)).digest != first.digest


def test_a_calibration_that_changes_under_a_run_is_refused(tmp_path: Path):
    path = write(tmp_path)
    run = resolved(*calibrated(tmp_path))
    write(tmp_path, shift=5.0)
    os.utime(path, (1, 1))
    with pytest.raises(BadInput, match=r"calibration\.json was changed since this command began"):
        planned(run, STEPS)
