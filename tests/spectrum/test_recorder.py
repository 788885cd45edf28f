"""The recorder: against the features themselves, and that it leaves no trace."""

from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from spectrum import CalibratedRule, Recorder, SpectrumConfig, SpectrumError, attach
from tests.spectrum.test_output_anywhere import qwen21
from tests.spectrum.test_two_denoisers import wan22
from tests.spectrum.tiny import FAMILIES, STEPS, Family

NAMES = ("flux", "sd3", "sdxl", "wan", "hunyuan")


@pytest.fixture(params=NAMES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def denoiser_of(pipe: Any) -> Any:
    return pipe.transformer if hasattr(pipe, "transformer") else pipe.unet


def features_of(family: Family, pipe: Any, **options: Any) -> list[torch.Tensor]:
    """What enters the head in each call of a plain run."""
    seen: list[torch.Tensor] = []
    head = denoiser_of(pipe).conv_norm_out if hasattr(pipe, "unet") else denoiser_of(pipe).norm_out
    hook = head.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    family.run(pipe, **options)
    hook.remove()
    return seen


def grams_of(features: list[torch.Tensor]) -> torch.Tensor:
    """n features (B, ...) -> the mean over the batch of their inner products, each of mean one on the diagonal."""
    rows = torch.stack([feature.flatten(1) for feature in features], dim=1).double()
    grams = rows @ rows.mT
    return (grams / grams.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]).mean(dim=0)


@pytest.mark.parametrize("guidance", [False, True])
def test_records_the_inner_products_of_each_branch(family, guidance):
    pipe = family.make()
    features = features_of(family, pipe, batch=2, guidance=guidance)
    with Recorder(pipe) as recorder:
        family.run(pipe, batch=2, guidance=guidance)
    made = recorder.calibration({"model": "tiny"})
    branches = family.branches(guidance)
    assert made.grams[STEPS].shape == (branches, STEPS, STEPS)
    for branch in range(branches):
        expected = grams_of(features[branch::branches])
        torch.testing.assert_close(torch.from_numpy(made.grams[STEPS][branch]), expected, rtol=1e-12, atol=1e-12)
    assert made.source["model"] == "tiny" and made.source["scheduler"] == type(pipe.scheduler).__name__


def test_samples_count_alike_over_calls_batches_and_numbers_of_steps(flux):
    pipe = flux.make()
    together, alone = features_of(flux, pipe, batch=2)[::2], features_of(flux, pipe, batch=1, size=48)[::2]
    with Recorder(pipe) as recorder:
        flux.run(pipe, batch=2)
        flux.run(pipe, num_inference_steps=5)
        flux.run(pipe, batch=1, size=48)
    made = recorder.calibration({})
    assert sorted(made.grams) == [5, STEPS] and made.source["trajectories"] == {str(STEPS): 3, "5": 1}
    expected = (2 * grams_of(together) + grams_of(alone)) / 3
    torch.testing.assert_close(torch.from_numpy(made.grams[STEPS][0]), expected, rtol=1e-12, atol=1e-12)
    assert type(made).from_json(made.to_json()).digest == made.digest
    each = recorder.trajectories()
    assert [sorted(one.grams) for one in each] == [[STEPS], [STEPS], [5], [STEPS]]
    assert type(made).mean(each, made.source).digest == made.digest
    torch.testing.assert_close(torch.from_numpy(each[3].grams[STEPS][0]), grams_of(alone), rtol=1e-12, atol=1e-12)


def test_a_part_of_the_elements_gives_nearly_the_same(flux):
    pipe = flux.make()
    grams = []
    for most in (2**20, 100):
        with Recorder(pipe, max_elements=most) as recorder:
            flux.run(pipe, batch=4, size=128)
        grams.append(recorder.calibration({}).grams[STEPS])
    assert abs(grams[0] - grams[1]).max() < 0.05
    assert (grams[0] != grams[1]).any()


def test_leaves_no_trace_and_changes_nothing(family):
    pipe = family.make()
    expected = family.run(pipe)
    before = [dict(vars(pipe.scheduler)).keys(), [len(m._forward_pre_hooks) for m in denoiser_of(pipe).modules()]]
    with Recorder(pipe) as recorder:
        assert torch.equal(family.run(pipe), expected)
        recorder.close()
    assert [
        dict(vars(pipe.scheduler)).keys(),
        [len(m._forward_pre_hooks) for m in denoiser_of(pipe).modules()],
    ] == before


def test_an_interrupted_trajectory_does_not_count(flux):
    pipe = flux.make()

    def stop(pipe, i, timestep, tensors):
        if i == 3:
            raise RuntimeError("stop")
        return tensors

    with Recorder(pipe) as recorder:
        with pytest.raises(RuntimeError, match="stop"):
            flux.run(pipe, callback_on_step_end=stop)
        with pytest.raises(SpectrumError, match="nothing was recorded"):
            recorder.calibration({})
        flux.run(pipe, batch=2)
    made = recorder.calibration({})
    assert made.source["trajectories"] == {str(STEPS): 2}
    torch.testing.assert_close(
        torch.from_numpy(made.grams[STEPS][0]), grams_of(features_of(flux, pipe, batch=2)[::2]), rtol=1e-12, atol=1e-12
    )


def test_what_was_recorded_forecasts_better_than_the_rule_without_data(flux):
    pipe = flux.make()
    plain = flux.run(pipe, batch=4)
    with Recorder(pipe) as recorder:
        flux.run(pipe, batch=4)
    rule = CalibratedRule(recorder.calibration({}), shrinkage=1e-6)
    errors = []
    calibrated: dict[str, Any] = {"rule": rule, "schedule": lambda n: rule.schedule(n, 5)}
    for options in ({}, calibrated):
        with attach(pipe, SpectrumConfig(warmup_steps=3), **options) as handle:
            errors.append(float((flux.run(pipe, batch=4) - plain).norm()))
            assert len(handle.plan_for(STEPS).evaluated) == 5
    assert errors[1] < errors[0]


def test_attached_pipelines_and_other_guidance_are_refused(flux):
    pipe = flux.make()
    with attach(pipe), pytest.raises(SpectrumError, match="takes plain runs"):
        Recorder(pipe)
    with Recorder(pipe):
        with pytest.raises(SpectrumError, match="already attached to this denoiser, or records it"):
            attach(pipe)
        flux.run(pipe)
        with pytest.raises(SpectrumError, match="called 1 times a step, and 2 times before"):
            flux.run(pipe, guidance=False)
    flux.run(pipe)


def test_guidance_on_part_of_the_steps_is_refused():
    sd3 = FAMILIES["sd3"]
    pipe = sd3.make()
    with Recorder(pipe), pytest.raises(SpectrumError, match="on part of the steps only"):
        sd3.run(pipe, skip_guidance_layers=[1], skip_layer_guidance_start=0.1, skip_layer_guidance_stop=0.7)


# Two denoisers that share the steps


@pytest.mark.parametrize("boundary", [0.9, 0.5])
def test_each_of_two_denoisers_is_recorded_for_its_part(boundary):
    family = wan22(boundary)
    pipe = family.make()
    seen: dict[str, list[torch.Tensor]] = {"transformer": [], "transformer_2": []}
    hooks = [
        getattr(pipe, name).norm_out.register_forward_pre_hook(lambda _, args, kept=kept: kept.append(args[0].clone()))
        for name, kept in seen.items()
    ]
    plain = family.run(pipe)
    for hook in hooks:
        hook.remove()
    with Recorder(pipe, targets=("features", "output")) as recorder:
        assert torch.equal(family.run(pipe), plain)
        family.run(pipe)
    made = recorder.calibration({})
    parts = [len(kept) // 2 for kept in seen.values()]
    assert made.source["parts"] == {"16": parts} and len({*parts}) == 2
    assert made.source["trajectories"] == {str(part): 2 for part in parts}
    for part, kept in zip(parts, seen.values(), strict=True):
        assert made.grams[part].shape == made.output_grams[part].shape == (2, part, part)
        for branch in range(2):
            expected = grams_of(kept[branch::2])
            torch.testing.assert_close(torch.from_numpy(made.grams[part][branch]), expected, rtol=1e-12, atol=1e-12)
    rule = CalibratedRule(made)
    with attach(pipe, SpectrumConfig(), rule=rule, schedule=lambda n: rule.schedule(n, 3)) as handle:
        family.run(pipe)
        assert [plan.evaluated for plan in handle.plans_by_denoiser.values()] == [rule.schedule(n, 3) for n in parts]


def test_two_parts_of_as_many_steps_are_branches_of_one():
    family = wan22(0.8)
    pipe = family.make()
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=4.0)  # which puts half of the steps on either side
    with Recorder(pipe) as recorder:
        family.run(pipe)
    made = recorder.calibration({})
    assert made.source["parts"] == {"16": [8, 8]} and made.grams[8].shape == (4, 8, 8)


# Outputs


BOTH = ("features", "output")


def outputs_of(family: Family, pipe: Any, **options: Any) -> list[torch.Tensor]:
    """What each call of a plain run returns first; of a list, the samples' tensors together."""
    seen: list[torch.Tensor] = []

    def note(_: object, __: object, output: Any) -> None:
        first = output[0]
        seen.append(torch.stack(first) if isinstance(first, list) else first.clone())

    hook = denoiser_of(pipe).register_forward_hook(note)
    family.run(pipe, **options)
    hook.remove()
    return seen


@pytest.mark.parametrize("name", ["flux", "sdxl", "z_image"])
def test_outputs_are_recorded_beside_features(name):
    family = FAMILIES[name]
    pipe = family.make()
    outputs = outputs_of(family, pipe, batch=2)
    with Recorder(pipe, targets=BOTH) as recorder:
        family.run(pipe, batch=2)
    made = recorder.calibration({})
    with Recorder(pipe) as recorder:
        family.run(pipe, batch=2)
    features = recorder.calibration({})
    assert made.grams.keys() == features.grams.keys() == {STEPS} and (made.grams[STEPS] == features.grams[STEPS]).all()
    assert made.source == features.source and made.digest != features.digest
    branches = family.branches(True)
    assert made.output_grams[STEPS].shape == (branches, STEPS, STEPS)
    for branch in range(branches):
        expected = grams_of(outputs[branch::branches])
        torch.testing.assert_close(torch.from_numpy(made.output_grams[STEPS][branch]), expected, rtol=1e-12, atol=1e-12)
    again = type(made).from_json(made.to_json())
    assert again.digest == made.digest and (again.output_grams[STEPS] == made.output_grams[STEPS]).all()


def test_both_tensors_of_an_output_are_recorded():
    family = FAMILIES["ltx2"]
    pipe = family.make()
    with Recorder(pipe, targets=("output",)) as recorder:
        family.run(pipe)
    made = recorder.calibration({})
    assert made.output_grams[STEPS].shape == (2 * family.branches(True), STEPS, STEPS) and not made.grams


def test_recorded_outputs_forecast_better_on_the_schedule_of_the_features(flux):
    pipe = flux.make()
    plain = flux.run(pipe, batch=4)
    with Recorder(pipe, targets=BOTH) as recorder:
        flux.run(pipe, batch=4)
    made = recorder.calibration({})
    rule = CalibratedRule(made, 1e-6, "output")
    assert rule.schedule(STEPS, 5) == CalibratedRule(made, 1e-6).schedule(STEPS, 5)
    assert rule.describe() == f"{CalibratedRule(made, 1e-6).describe()} of the output"
    errors = []
    calibrated: dict[str, Any] = {"rule": rule, "schedule": lambda n: rule.schedule(n, 5)}
    for options in ({}, calibrated):
        with attach(pipe, SpectrumConfig(warmup_steps=3), target="output", **options):
            errors.append(float((flux.run(pipe, batch=4) - plain).norm()))
    assert errors[1] < errors[0]


def test_outputs_alone_of_a_denoiser_compiled_as_a_whole(flux):
    pipe = flux.make()
    plain = flux.run(pipe)
    pipe.transformer.compile(backend="eager")
    with pytest.raises(SpectrumError, match="compiled as a whole"):
        Recorder(pipe, targets=BOTH)
    with Recorder(pipe, targets=("output",)) as recorder:
        torch.testing.assert_close(flux.run(pipe), plain, rtol=1e-4, atol=1e-5)
    made = recorder.calibration({})
    assert len(CalibratedRule(made, target="output").schedule(STEPS, 5)) == 5
    with pytest.raises(SpectrumError, match="nothing of the target features"):
        CalibratedRule(made)


def test_outputs_that_change_shape_are_refused():
    family = qwen21()
    pipe = family.make()
    with Recorder(pipe, targets=("output",)), pytest.raises(SpectrumError, match="the output changed shape within"):
        family.run(pipe)
