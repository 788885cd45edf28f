"""The speed benchmark at tiny sizes: that it counts and compares what it says, not how fast anything is."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import spectrum
from tools.benchmarks.common import methods
from tools.benchmarks.common.catalog import MODELS
from tools.benchmarks.common.denoisers import Scale, build, call_arguments, denoiser_of
from tools.benchmarks.common.device import clocks, describe_device
from tools.benchmarks.common.methods import KINDS, Kind, Method, expand
from tools.benchmarks.common.peers import NotSupported, taylorseer_steps
from tools.benchmarks.speed import __main__ as speed
from tools.benchmarks.speed import forecast, measure, operations, results
from tools.benchmarks.speed.__main__ import main
from tools.benchmarks.speed.measure import fit, summarize
from tools.benchmarks.speed.report import render
from tools.benchmarks.speed.timing import Counts, Run, counting

TINY, STEPS = 0.005, 10
CPU = torch.device("cpu")
EVALUATED = {"": 10, "0.75": 7, "3": 6}  # of 10 steps, by flex_window
# Published parameters in billions, and the feature of one call at the published size.
FULL = {
    "flux": (11.90, (1, 4096, 24 * 128)),
    "wan": (14.29, (1, 21 * 30 * 52, 40 * 128)),
    "hunyuan": (12.82, (1, 16 * 34 * 60, 24 * 128)),
    "sd35": (8.06, (2, 4096, 38 * 64)),
    "sdxl": (2.567, (2, 320, 128, 128)),
}
NO_CACHE = {"sd35": ("taylorseer", "taylorseer-lite", "fbcache")}
NO_CACHE["sdxl"] = (*NO_CACHE["sd35"], "cache-dit")


def run(out: Path, *more: str) -> dict[str, Any]:
    """Run the command at a tiny size; return the results that it wrote."""
    tiny = ["--scale", str(TINY), "--steps", str(STEPS), "--repeats", "1", "--device", "cpu"]
    assert main([*tiny, "--out", str(out), *more]) == 0
    return json.loads(next(out.glob("speed-*.json")).read_text())


def cells(page: str) -> str:
    """Return a page without the padding of its tables."""
    return re.sub(" +", " ", page)


def pipeline(name: str) -> tuple[Any, dict[str, Any]]:
    model = MODELS[name]
    size = model.size(Scale(TINY))
    return build(model, size, CPU, torch.float32), call_arguments(model, size, CPU, torch.float32)


@pytest.mark.parametrize("name", MODELS)
def test_a_run_counts_what_every_method_evaluates(name: str, tmp_path: Path) -> None:
    """The smoke test: from the command line to the page, all methods on one model."""
    (table,) = run(tmp_path, "--model", name)["tables"].values()
    measured = expand([kind for kind in KINDS if kind != "plain"])
    assert table["model"] == name and table["rows"].keys() == {method.name for method in measured}
    branches = 2 if name == "wan" else 1
    for method in measured:
        row = table["rows"][method.name]
        if method.kind in NO_CACHE.get(name, ()) or (method.kind == "cache-dit" and not find_spec("cache_dit")):
            assert row["not_supported"] and "seconds" not in row
            continue
        assert (row["evaluated"], row["calls"]) == (EVALUATED[method.flex] * branches, STEPS * branches), method.name
        assert row["seconds"] > 0 and row["full_ms"] > 0 and row["peak_bytes"] > 1e7
        assert (row["forecast_ms"] is None) == (method.kind == "plain")
        assert (row["history_bytes"] is None) == (method.kind not in measure.OWN[1:])
        assert row["speedup"] == pytest.approx(row["plain_seconds"] / row["seconds"])
    page = cells((tmp_path / "speed.md").read_text())
    assert f"### {MODELS[name].title}" in page and MODELS[name].source in page
    assert "**shrunk to scale 0.005, not the real size**" in page and page.count("not measured yet") == 5
    assert "| Spectrum, flex 0.75 |" in page
    assert ("| TaylorSeer | not supported: " in page) == (name in NO_CACHE)


@pytest.mark.parametrize("name", MODELS)
def test_full_size_is_the_published_one(name: str) -> None:
    model = MODELS[name]
    size = model.size(Scale(1))
    with torch.device("meta"):
        denoiser = model.denoiser_class()(**size.config)
    billions, feature = FULL[name]
    assert sum(one.numel() for one in denoiser.parameters()) / 1e9 == pytest.approx(billions, rel=1e-3)
    assert size.feature == feature


@pytest.mark.parametrize("name", MODELS)
def test_features_are_of_the_size_given(name: str) -> None:
    pipe, call = pipeline(name)
    with spectrum.attach(pipe, spectrum.SpectrumConfig(warmup_steps=1)) as handle:
        pipe(**call, num_inference_steps=4)
        rows, branches = len(handle.plan_for(4).rows), handle.statistics.branches
        expected = rows * branches * torch.Size(MODELS[name].size(Scale(TINY)).feature).numel() * 4
        assert handle.statistics.history_bytes == expected


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "plain"])
def test_a_method_leaves_the_pipeline_as_it_was(kind: str) -> None:
    pipe, call = pipeline("flux")

    def latents() -> torch.Tensor:
        return pipe(**call, num_inference_steps=6, generator=torch.Generator().manual_seed(0))[0]

    before, names = latents(), [name for name, _ in denoiser_of(pipe).named_modules()]
    method = Method(kind, "3")
    with counting(denoiser_of(pipe)) as counts:
        outcome = measure._attempt(method, method.schedule(6), pipe, call, counts)
    assert isinstance(outcome, Run) or not find_spec("cache_dit")
    assert latents().equal(before)
    assert [name for name, _ in denoiser_of(pipe).named_modules()] == names


@pytest.mark.parametrize("name", MODELS)
def test_operations_are_those_of_the_real_pipeline(name: str) -> None:
    """Its calls are counted with tensors that have no numbers; a forecast of the output leaves but the sum."""
    rows, branches = 2, 2 if name == "wan" else 1
    counted = operations.count_operations(MODELS[name], TINY, torch.float32, rows)
    assert counted["evaluated"] > counted["features"]["denoiser"] > counted["output"]["denoiser"] == 0
    pipe, call = pipeline(name)
    for target in operations.TARGETS:
        assert rows * branches < counted[target]["sum"] < 8 * rows * branches
        with spectrum.attach(pipe, schedule=lambda _: range(rows), target=target) as handle:
            pipe(**call, num_inference_steps=rows + 1)
        assert handle.statistics.history_bytes == counted[target]["history_bytes"]


def test_the_page_says_what_a_step_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "ROWS", (1,))
    (counted,) = run(tmp_path, "--operations", "--model", "sd35")["operations"].values()
    page = cells((tmp_path / "speed.md").read_text())
    assert "### Operations of a step" in page
    assert f"| Stable Diffusion 3.5 Large, 1024x1024, scale {TINY:g} | float32 | 1 | {counted['evaluated']} |" in page
    assert f"| 0 | {counted['output']['sum']} |" in page


def test_a_method_measured_again_replaces_its_row(tmp_path: Path) -> None:
    path, here = tmp_path / "speed-here.json", describe_device(CPU)
    found = results.load(path, here)
    flux, wan = ({"model": name, "scale": TINY, "steps": STEPS, "dtype": "float32"} for name in ("flux", "wan"))
    results.put_rows(found, flux, {"plain": {"seconds": 2}, "fbcache-3": {"seconds": 1}})
    results.put_rows(found, wan, {"plain": {"seconds": 9}})
    path.write_text(json.dumps(found))
    found = results.load(path, here)
    results.put_rows(found, flux, {"plain": {"seconds": 3}})
    first, second = found["tables"].values()
    assert first["rows"] == {"plain": {"seconds": 3}, "fbcache-3": {"seconds": 1}}
    assert second == wan | {"rows": {"plain": {"seconds": 9}}}


@pytest.mark.parametrize("changed", [{"device": "another"}, {"libraries": {"torch": "0"}}, {"settings": {}}])
def test_results_of_other_machines_and_versions_are_not_mixed(changed: dict[str, Any], tmp_path: Path) -> None:
    path, here = tmp_path / "speed-here.json", describe_device(CPU)
    path.write_text(json.dumps({"machine": here | changed, "tables": {"some": {}}, "forecasts": {}}))
    assert results.load(path, here) == {"machine": here, "tables": {}, "forecasts": {}, "operations": {}, "parts": {}}


def test_the_page_puts_figures_of_an_h200_beside_the_aims() -> None:
    row = {"speedup": 4.5, "full_ms": 200.0, "forecast_ms": 5.0, "evaluated": 10, "calls": 50, "seconds": 1.0}
    row |= {"all_seconds": [1.0], "peak_bytes": None, "steps_run": 12}
    table = {"model": "flux", "scale": 1, "steps": 50, "dtype": "bfloat16", "parameters": 1, "call": {}, "feature": []}
    machine = describe_device(CPU) | {"device": "NVIDIA H200"}
    results = {"machine": machine, "tables": {"": table | {"rows": {"spectrum-3": row}}}, "forecasts": {}}
    page = cells(render([results]))
    assert "| at least 4.9x | 4.50x |" in page and "| under 1.5 % | 2.50 % |" in page
    assert "| 1.00 * (12 steps) | 4.50x | 90.0 % | 90.9 % | 10 of 50 |" in page
    assert page.count("not measured yet") == 3


@pytest.mark.parametrize(
    ("budget", "names", "plain_steps"),
    [
        (float("inf"), ["plain", "a", "b"], 50),
        (180.0, ["plain", "a", "b"], 50),
        (130.0, ["plain", "a", "b"], 25),
        (90.0, ["plain", "a"], 25),
        (41.0, ["plain"], 20),
        (1.0, ["plain"], 8),
    ],
)
def test_what_one_turn_can_hold(budget: float, names: list[str], plain_steps: int) -> None:
    assert fit({"plain": 100.0, "a": 40.0, "b": 40.0}, 50, budget) == (names, plain_steps)


def test_ratios_are_taken_within_a_turn() -> None:
    def run(seconds: float, steps: int = 50) -> Run:
        return Run(steps, seconds, 50, 10, (100.0, 200.0, 300.0), (1.0,), 7)

    row = summarize([run(1.0), run(2.0), run(4.0)], [run(4.0), run(10.0), run(12.0)], 50)
    assert (row["seconds"], row["plain_seconds"], row["speedup"], row["full_ms"]) == (2.0, 10.0, 4.0, 200.0)
    assert "steps_run" not in row
    shortened = summarize([run(1.0)], [run(2.0, steps=10)], 50)
    assert shortened["plain_seconds"] == pytest.approx(2.0 + 40 * 0.2)
    assert summarize([run(2.0, steps=10)], [run(2.0, steps=10)], 50)["steps_run"] == 10


@pytest.mark.parametrize(("flex", "steps", "expected"), [("0.75", 50, (5, 5)), ("3", 50, (5, 9)), ("3", 10, (5, 4))])
def test_taylorseer_gets_as_many_evaluations(flex: str, steps: int, expected: tuple[int, int]) -> None:
    schedule = Method("taylorseer", flex).schedule(steps)
    before, interval = taylorseer_steps(schedule)
    assert (before, interval) == expected
    whole = [step for step in range(steps) if step < before or (step - before - 1) % interval == 0]
    assert len(whole) == len(schedule.evaluated)


def failing(error: Exception) -> Kind:
    def on(*_: Any) -> Any:
        raise error

    return Kind("", on, "")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotSupported("no such thing"), "no such thing"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory"),
        (ValueError("first line\nsecond line"), "ValueError: first line"),
        (AssertionError(), "AssertionError: no message"),
    ],
)
def test_a_peer_that_fails_says_why(error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(methods.KINDS, "cache-dit", failing(error))
    method = Method("cache-dit", "3")
    assert measure._attempt(method, method.schedule(8), None, {}, Counts()) == reason


def test_a_mistake_of_our_own_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(methods.KINDS, "spectrum", failing(ValueError("a mistake")))
    method = Method("spectrum", "3")
    with pytest.raises(ValueError, match="a mistake"):
        measure._attempt(method, method.schedule(8), None, {}, Counts())


def test_forecasts_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(tmp_path, "--forecast", "--model", "sd35")["forecasts"].values()
    assert [(row["rows"], row["dtype"]) for row in found] == [
        (rows, dtype) for dtype in ("bfloat16", "float32") for rows in (14, 10)
    ]
    numel = torch.Size(MODELS["sd35"].size(Scale(TINY)).feature).numel()
    for row in found:
        assert row["ratio"] > 0 and row["forecast_ms"] > 0 and row["copy_ms"] > 0
        assert row["moved_bytes"] == (row["rows"] + 1) * numel * (2 if row["dtype"] == "bfloat16" else 4)
    monkeypatch.setattr(forecast, "free_bytes", lambda _: 1000)
    run(tmp_path, "--forecast", "--model", "sd35")
    assert (tmp_path / "speed.md").read_text().count("left out: needs 0.0 GB") == 4


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--model", "flux,sora"], "there is no model 'sora': choose among flux,"),
        (["--methods", "spectrum-2"], "there is no method 'spectrum-2': choose among plain,"),
        (["--methods", "plain-3"], "there is no method 'plain-3'"),
        (["--steps", "0"], "--steps must be at least 1, not 0"),
        (["--scale", "2"], "--scale must be above 0 and at most 1, not 2"),
        (["--time-limit", "nan"], "--time-limit must be at least 1, not nan"),
        (["--device", "tpu"], "invalid choice: 'tpu'"),
        (["--dtype", "fp8"], "invalid choice: 'fp8'"),
        (["--batch", "0"], "--batch must be at least 1, not 0"),
        (["--compile", "all"], "invalid choice: 'all'"),
        (["--compile", "whole"], "--compile whole leaves no block to skip for spectrum-0.75: add --methods"),
        (["--attention", "flashy"], "--attention flashy is not known: choose one of "),
        (["--model", "sdxl", "--attention", "_native_math"], "has no effect on UNet2DConditionModel"),
    ],
)
def test_a_bad_option_is_refused(given: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as refused:
        main([*given, "--out", str(tmp_path / "none")])
    assert refused.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_model_that_does_not_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is built: the system would end the process where it is being measured."""
    monkeypatch.setattr(speed, "free_bytes", lambda _: 10 * 10**9)
    with pytest.raises(SystemExit, match="2"):
        main(["--device", "cpu", "--model", "sdxl,flux", "--out", str(tmp_path / "none")])
    said = capsys.readouterr().err
    assert "the weights of sdxl take 10.3 GB in float32 at --scale 1, and 10.0 GB are free here" in said
    assert not (tmp_path / "none").exists()


def test_every_other_turn_is_the_other_way_round(capsys: pytest.CaptureFixture) -> None:
    conditions = measure.Conditions(TINY, STEPS, 3, CPU, torch.float32, float("inf"))
    *_, rows = measure.measure(MODELS["flux"], expand(["spectrum-output-3"]), conditions)
    turns = [line.split()[2] for line in capsys.readouterr().err.splitlines() if line.startswith("turn")]
    assert turns == ["plain", *["spectrum-output-3"] * 2, *["plain"] * 2, "spectrum-output-3"]
    assert {name: len(row["all_seconds"]) for name, row in rows.items()} == {"plain": 3, "spectrum-output-3": 3}


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "kind"), [("blocks", "spectrum"), ("whole", "spectrum-output")])
def test_compiled_code_is_counted_as_any_other(
    mode: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dynamo's part of compiling is real; Inductor's, which takes minutes and has no part in this, is left out."""
    eager = {"blocks": lambda one, _: one.compile_repeated_blocks(backend="eager")}
    eager["whole"] = lambda one, _: one.compile(backend="eager")
    monkeypatch.setattr(measure, "compile_denoiser", eager[mode])
    more = ("--compile", mode, "--batch", "2", "--attention", "native", "--methods", f"{kind}-3", "--model", "wan")
    (table,) = run(tmp_path, *more)["tables"].values()
    assert {name: (row["evaluated"], row["calls"]) for name, row in table["rows"].items()} == {
        "plain": (2 * STEPS, 2 * STEPS),
        f"{kind}-3": (2 * EVALUATED["3"], 2 * STEPS),
    }
    page = (tmp_path / "speed.md").read_text()
    assert f"### Wan2.1-T2V-14B, 832x480, 81 frames, batch 2, compile {mode}, attention native" in page


@pytest.mark.slow
def test_the_rest_of_a_sample(tmp_path: Path) -> None:
    (parts,) = run(tmp_path, "--parts", "--model", "sdxl")["parts"].values()
    assert [*parts["rows"]] == ["text_encoder", "text_encoder_2", "vae"]
    assert all(row["seconds"] > 0 and row["weights_bytes"] > 1e8 for row in parts["rows"].values())
    page = cells((tmp_path / "speed.md").read_text())
    assert "| text_encoder_2 | CLIPTextModelWithProjection | float32 |" in page and "| vae | AutoencoderKL |" in page


def test_more_than_the_limit_is_called_noise() -> None:
    row = {"speedup": 5.1, "full_ms": 200.0, "forecast_ms": 5.0, "evaluated": 10, "calls": 50, "seconds": 1.0}
    row |= {"all_seconds": [1.0], "peak_bytes": None}
    table = {"model": "flux", "scale": 1, "steps": 50, "dtype": "bfloat16", "parameters": 1, "call": {}, "feature": []}
    table |= {"clocks": {"mhz": 1755, "most_mhz": 1980, "watts": 690.5, "celsius": 61}, "batch": 4}
    results = {"machine": describe_device(CPU), "tables": {"": table | {"rows": {"spectrum-3": row}}}, "forecasts": {}}
    page = render([results])
    assert "| 102.0 % (noise) |" in cells(page) and "| 90.9 % |" in cells(page)
    assert "The clock at the end: 1755 MHz of at most 1980, at 690.5 W and 61 °C." in page


def test_a_gpu_tells_its_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`nvidia-smi` is a stand-in here: it answers as the real one does to that question, for two GPUs."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '1755, 1980, 690.52, 61\\n345, 1980, 70.10, 30\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert clocks(torch.device("cuda:0")) == {"mhz": 1755, "most_mhz": 1980, "watts": 690.52, "celsius": 61}
    assert clocks(torch.device("cuda:1"))["mhz"] == 345
    program.unlink()
    assert clocks(torch.device("cuda:0")) == {}
