"""Spectrum on real (tiny) pipelines: what forecast steps run and compute, and that nothing is left behind."""

import copy
import inspect
from typing import Any

import pytest
import torch
from diffusers import (
    FirstBlockCacheConfig,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2DiscreteScheduler,
    PNDMScheduler,
)

from spectrum import SpectrumConfig, SpectrumError, Statistics, attach
from spectrum.denoisers import spec_of
from tests.spectrum.tiny import FAMILIES, STEPS, embeddings, oracle

OPTIONS: dict[str, Any] = {"w": 0.5, "lam": 0.1, "m": 4}
CONFIG = SpectrumConfig(**OPTIONS, warmup_steps=3)
EVALUATED, FORECAST = (0, 1, 2, 4, 6), (3, 5, 7, 8)


def denoiser_of(pipe):
    return pipe.transformer if hasattr(pipe, "transformer") else pipe.unet


def stacks_of(pipe):
    denoiser = denoiser_of(pipe)
    return [getattr(denoiser, name) for name in spec_of(denoiser).stacks]


def blocks_of(pipe):
    return [block for stack in stacks_of(pipe) for block in (stack if hasattr(stack, "__len__") else [stack])]


class Watch:
    """Notes, for each denoiser call, how many blocks ran and what entered the head after Spectrum's hook."""

    def __init__(self, pipe):
        self.calls: list[dict] = []
        denoiser = denoiser_of(pipe)
        denoiser.register_forward_pre_hook(lambda *_: self.calls.append({"blocks": 0}))
        for block in blocks_of(pipe):
            block.register_forward_pre_hook(lambda *_: self._block_ran())
        head = getattr(denoiser, spec_of(denoiser).head)
        head.register_forward_pre_hook(lambda _, args: self.calls[-1].update(feature=args[0].clone()))

    def _block_ran(self):
        self.calls[-1]["blocks"] += 1


def traces_of(pipe):
    """Everything that attach could leave behind: attribute names, hooks, submodules."""
    modules = {
        name: (
            id(module),
            list(module.__dict__),
            list(module._modules.items()),
            [dict(value) for key, value in vars(module).items() if key.endswith("hooks")],
            list(module._forward_hooks_always_called) + list(module._forward_pre_hooks_with_kwargs),
        )
        for name, module in denoiser_of(pipe).named_modules()
    }
    return list(vars(pipe)), list(vars(pipe.scheduler)), modules


# What a trajectory computes


@pytest.mark.parametrize("guidance", [False, True], ids=["plain", "guided"])
def test_with_every_step_evaluated_nothing_changes(family, guidance):
    pipe = family.make()
    expected = family.run(pipe, guidance=guidance)
    with attach(pipe, SpectrumConfig(warmup_steps=STEPS)) as handle:
        assert torch.equal(family.run(pipe, guidance=guidance), expected)
    assert handle.statistics.evaluated == STEPS * family.branches(guidance)
    assert handle.statistics.forecast == handle.statistics.history_bytes == 0


@pytest.mark.parametrize("guidance", [False, True], ids=["plain", "guided"])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_forecast_steps_run_no_block_and_use_the_forecast(family, batch, guidance):
    pipe = family.make()
    with attach(pipe, CONFIG) as handle:
        watch = Watch(pipe)
        family.run(pipe, batch=batch, guidance=guidance)
    branches = family.branches(guidance)
    assert len(watch.calls) == STEPS * branches
    for branch in range(branches):
        calls = watch.calls[branch::branches]
        assert [call["blocks"] for call in calls] == [
            len(blocks_of(pipe)) if step in EVALUATED else 0 for step in range(STEPS)
        ]
        for step in FORECAST:
            before = tuple(e for e in EVALUATED if e < step)
            recorded = torch.stack([calls[e]["feature"].double().flatten() for e in before])
            expected = oracle(recorded.numpy(), before, step, **OPTIONS, horizon=STEPS)
            error = calls[step]["feature"].double().flatten().numpy() - expected
            assert (error**2).sum() <= 1e-12 * (expected**2).sum()
    statistics = handle.statistics
    assert (statistics.num_steps, statistics.steps, statistics.branches) == (STEPS, STEPS, branches)
    assert (statistics.evaluated, statistics.forecast) == (5 * branches, 4 * branches)
    assert statistics.history_bytes == branches * handle.plan_for(STEPS).history_bytes(
        calls[0]["feature"].numel(), torch.float32
    )


def test_forecasts_stay_near_the_plain_output(family):
    pipe = family.make()
    plain = family.run(pipe)
    with attach(pipe, CONFIG):
        forecast = family.run(pipe)
    assert 0 < (forecast - plain).norm() / plain.norm() < 0.1


def test_history_keeps_the_dtype_of_the_model(family):
    pipe = family.make()
    denoiser_of(pipe).to(torch.bfloat16)
    texts = {
        name: value.bfloat16() if isinstance(value, torch.Tensor) else value
        for name, value in family.arguments(2, True).items()
    }
    with attach(pipe, CONFIG) as handle:
        watch = Watch(pipe)
        family.run(pipe, batch=2, **texts)
    features = [call["feature"] for call in watch.calls if call["blocks"]]
    # Wan hands its head a float32 copy; storing it in the model's dtype must lose nothing.
    assert all(torch.equal(feature.bfloat16().to(feature.dtype), feature) for feature in features)
    plan = handle.plan_for(STEPS)
    assert handle.statistics.history_bytes == 2 * family.branches(True) // 2 * plan.history_bytes(
        features[0].numel(), torch.bfloat16
    )


def test_unet_with_odd_sizes(sdxl):
    pipe = sdxl.make()
    with attach(pipe, CONFIG) as handle:
        assert sdxl.run(pipe, size=40).shape[-2:] == (5, 5)
    assert handle.statistics.forecast == len(FORECAST)


def manual_trajectory(pipe, handle, extra, begin=0):
    """Calls denoiser and scheduler as an img2img or ControlNet pipeline would."""
    pipe.scheduler.set_timesteps(STEPS + begin)
    if begin:
        pipe.scheduler.set_begin_index(begin)
    denoiser = denoiser_of(pipe)
    text: dict[str, Any] = {"encoder_hidden_states": embeddings(2, 6, 32)}
    if hasattr(pipe, "unet"):
        latents = embeddings(2, 4, 8, 8)
        text["added_cond_kwargs"] = {"text_embeds": embeddings(2, 32), "time_ids": torch.zeros(2, 6)}
    elif "SD3" in type(denoiser).__name__:
        latents = embeddings(2, 4, 8, 8)
        text["pooled_projections"] = embeddings(2, 32)
    else:
        latents = embeddings(2, 16, 4)
        text |= {
            "pooled_projections": embeddings(2, 32),
            "txt_ids": torch.zeros(6, 3),
            "img_ids": torch.zeros(16, 3),
        }
    with torch.no_grad():
        for timestep in pipe.scheduler.timesteps[begin:]:
            output = denoiser(latents, timestep=timestep.expand(2), **text, **extra(), return_dict=False)[0]
            latents = pipe.scheduler.step(output, timestep, latents, return_dict=False)[0]
    return handle.statistics


def residuals_for(pipe):
    shapes = {"flux": (2, 16, 32), "sd3": (2, 16, 32)}
    name = type(denoiser_of(pipe)).__name__
    if name.startswith("Flux"):
        return lambda: {
            "controlnet_block_samples": [torch.ones(shapes["flux"])],
            "controlnet_single_block_samples": [torch.ones(shapes["flux"])],
        }
    if name.startswith("SD3"):
        return lambda: {"block_controlnet_hidden_states": [torch.ones(shapes["sd3"])]}
    return lambda: {
        "down_block_additional_residuals": [
            torch.ones(2, 16, 8, 8),
            torch.ones(2, 16, 8, 8),
            torch.ones(2, 16, 4, 4),
            torch.ones(2, 32, 4, 4),
        ],
        "mid_block_additional_residual": torch.ones(2, 32, 4, 4),
    }


@pytest.mark.parametrize("name", ["flux", "sd3", "sdxl"])
def test_controlnet_residuals_matter_on_evaluated_steps_alone(name):
    pipe = FAMILIES[name].make()
    with attach(pipe, CONFIG) as handle:
        watch = Watch(pipe)
        statistics = manual_trajectory(pipe, handle, residuals_for(pipe))
        assert (statistics.evaluated, statistics.forecast) == (len(EVALUATED), len(FORECAST))
        manual_trajectory(pipe, handle, dict)
    controlled, plain = watch.calls[0]["feature"], watch.calls[STEPS]["feature"]
    assert not torch.allclose(controlled, plain)


def test_a_trajectory_that_begins_part_way_gets_a_plan_for_what_is_left(flux):
    pipe = flux.make()
    with attach(pipe, CONFIG) as handle:
        statistics = manual_trajectory(pipe, handle, dict, begin=4)
    assert (statistics.num_steps, statistics.steps) == (STEPS, STEPS)
    assert (statistics.evaluated, statistics.forecast) == (len(EVALUATED), len(FORECAST))


def test_a_branch_that_joins_late_runs_whole():
    family = FAMILIES["sd3"]
    pipe = family.make()
    with attach(pipe, CONFIG) as handle:
        watch = Watch(pipe)
        family.run(pipe, skip_guidance_layers=[1], skip_layer_guidance_start=0.1, skip_layer_guidance_stop=0.7)
    # Skip-layer guidance adds a second call on steps 1 to 6.
    assert handle.statistics.branches == 2
    assert handle.statistics.forecast == len(FORECAST)
    assert len(watch.calls) == STEPS + 6 and handle.statistics.evaluated == len(EVALUATED) + 6


# No trace


def test_detach_leaves_everything_as_it_was(family):
    pipe = family.make()
    expected = family.run(pipe)
    before = traces_of(pipe)
    handle = attach(pipe, CONFIG)
    assert traces_of(pipe) != before
    assert not torch.equal(family.run(pipe), expected)
    handle.detach()
    handle.detach()
    assert traces_of(pipe) == before
    assert torch.equal(family.run(pipe), expected)


@pytest.mark.parametrize("step", [1, 3, 4])
def test_an_interrupted_trajectory_leaves_no_trace(family, step):
    pipe = family.make()
    plain = family.run(pipe)
    before = traces_of(pipe)

    def stop(pipe, i, timestep, tensors):
        if i == step:
            raise RuntimeError("stop")
        return tensors

    with attach(pipe, CONFIG):
        expected = family.run(pipe)
        with pytest.raises(RuntimeError, match="stop"):
            family.run(pipe, batch=2, callback_on_step_end=stop)
        assert torch.equal(family.run(pipe), expected)
        with pytest.raises(RuntimeError, match="stop"):
            family.run(pipe, callback_on_step_end=stop)
    assert traces_of(pipe)[2] == before[2] and not {"step", "set_timesteps"} & set(vars(pipe.scheduler))
    assert torch.equal(family.run(pipe), plain)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_inside_a_forecast_forward_leaves_no_trace(family, error):
    pipe = family.make()
    plain = family.run(pipe)
    stacks = stacks_of(pipe)
    handle = attach(pipe, CONFIG)
    expected = family.run(pipe)
    denoiser = denoiser_of(pipe)
    output = denoiser.conv_out if hasattr(pipe, "unet") else denoiser.proj_out

    def fail(*_):
        if handle.statistics.forecast == 2:
            raise error

    for attempt in range(2):
        hook = output.register_forward_pre_hook(fail)
        with pytest.raises(error):
            family.run(pipe)
        hook.remove()
        if error is RuntimeError:
            assert stacks_of(pipe) == stacks
        if attempt == 0:
            assert torch.equal(family.run(pipe), expected)
    handle.detach()
    assert stacks_of(pipe) == stacks
    assert torch.equal(family.run(pipe), plain)


def test_one_call_does_not_colour_the_next(family):
    calls = [
        {"batch": 2},
        {"num_inference_steps": 13},
        {"size": 48, "guidance": False},
        {"num_inference_steps": 2},
        {"batch": 3, "size": 48},
        {"batch": 2},
    ]
    pipe = family.make()
    with attach(pipe, CONFIG):
        outputs = [family.run(pipe, **call) for call in calls]
    for call, output in zip(calls, outputs, strict=True):
        fresh = family.make()
        with attach(fresh, CONFIG):
            assert torch.equal(family.run(fresh, **call), output)
    assert torch.equal(outputs[0], outputs[-1])


def branches_held(handle: Any) -> int:
    return len(handle._latest._branches)


def test_features_are_freed_after_the_last_step_and_by_detach(flux):
    pipe = flux.make()
    held = []

    def note(pipe, i, timestep, tensors):
        held.append(branches_held(handle))
        return tensors

    def stop(pipe, i, timestep, tensors):
        raise RuntimeError("stop")

    handle = attach(pipe, CONFIG)
    flux.run(pipe, callback_on_step_end=note)
    assert held == [2] * (STEPS - 1) + [0]
    with pytest.raises(RuntimeError, match="stop"):
        flux.run(pipe, callback_on_step_end=stop)
    assert branches_held(handle) == 2
    pipe.scheduler.set_timesteps(STEPS)
    assert branches_held(handle) == 0
    with pytest.raises(RuntimeError, match="stop"):
        flux.run(pipe, callback_on_step_end=stop)
    assert branches_held(handle) == 2
    handle.detach()
    assert branches_held(handle) == 0
    assert handle.statistics.steps == 1


def test_outside_of_a_trajectory_the_denoiser_runs_whole(flux):
    pipe = flux.make()
    with attach(pipe, CONFIG) as handle:
        assert handle.statistics == Statistics()
        flux.run(pipe)
        done = handle.statistics
        watch = Watch(pipe)
        with torch.no_grad():
            pipe.transformer(
                hidden_states=torch.zeros(5, 4, 4),
                encoder_hidden_states=torch.zeros(5, 6, 32),
                pooled_projections=torch.zeros(5, 32),
                timestep=torch.ones(5),
                img_ids=torch.zeros(4, 3),
                txt_ids=torch.zeros(6, 3),
            )
        assert watch.calls[0]["blocks"] == len(blocks_of(pipe))
        assert handle.statistics == done


# Living with others


def test_scheduler_methods_keep_their_signatures(family):
    pipe = family.make()
    methods = ("set_timesteps", "step")
    plain = [inspect.signature(getattr(pipe.scheduler, name)) for name in methods]
    with attach(pipe, CONFIG):
        assert [inspect.signature(getattr(pipe.scheduler, name)) for name in methods] == plain


def test_a_copy_of_the_scheduler_steps_itself_and_is_no_clock(flux):
    pipe = flux.make()

    def step_a_copy(pipe, i, timestep, tensors):
        if i == STEPS - 1:
            return tensors
        before = pipe.scheduler.step_index
        twin = copy.deepcopy(pipe.scheduler)
        twin.step(tensors["latents"], twin.timesteps[twin.step_index], tensors["latents"])
        assert (twin.step_index, pipe.scheduler.step_index) == (before + 1, before)
        twin.set_timesteps(3)
        assert (len(twin.timesteps), len(pipe.scheduler.timesteps)) == (3, STEPS)
        return tensors

    with attach(pipe, CONFIG):
        expected = flux.run(pipe)
        assert torch.equal(flux.run(pipe, callback_on_step_end=step_a_copy), expected)


@pytest.mark.parametrize("attach_first", [False, True])
def test_accelerate_offloading_that_replaces_forward_at_every_call(family, attach_first):
    from accelerate import cpu_offload_with_hook
    from accelerate.hooks import remove_hook_from_module

    pipe = family.make()
    with attach(pipe, CONFIG):
        expected = family.run(pipe)
    if not attach_first:
        cpu_offload_with_hook(denoiser_of(pipe), "cpu")
    with attach(pipe, CONFIG) as handle:
        for _ in range(2):
            assert torch.equal(family.run(pipe), expected)
            assert handle.statistics.forecast > 0
            remove_hook_from_module(denoiser_of(pipe), recurse=True)
            cpu_offload_with_hook(denoiser_of(pipe), "cpu")


@pytest.mark.parametrize("offload_type", ["block_level", "leaf_level"])
def test_group_offloading(family, offload_type):
    pipe = family.make()
    with attach(pipe, CONFIG):
        expected = family.run(pipe)
    options = {"num_blocks_per_group": 1} if offload_type == "block_level" else {}
    denoiser_of(pipe).enable_group_offload(onload_device=torch.device("cpu"), offload_type=offload_type, **options)
    with attach(pipe, CONFIG):
        assert torch.equal(family.run(pipe), expected)


def test_compiled_blocks(flux):
    pipe = flux.make()
    with attach(pipe, CONFIG):
        expected = flux.run(pipe)
        pipe.transformer.compile_repeated_blocks(backend="eager")
        watch = Watch(pipe)
        torch.testing.assert_close(flux.run(pipe), expected)
    assert [bool(call["blocks"]) for call in watch.calls[::2]] == [step in EVALUATED for step in range(STEPS)]


# Refusals


def refuses(pipe, match, config=CONFIG):
    before = traces_of(pipe) if hasattr(pipe, "scheduler") else None
    with pytest.raises(SpectrumError, match=match):
        attach(pipe, config)
    assert before is None or traces_of(pipe) == before


def test_attaching_twice_is_refused(flux):
    pipe = flux.make()
    with attach(pipe, CONFIG):
        refuses(pipe, "already attached to this denoiser")
    attach(pipe, CONFIG).detach()


def test_two_pipelines_on_one_scheduler_are_refused(flux):
    first, second = flux.make(), flux.make()
    second.scheduler = first.scheduler
    with attach(first, CONFIG):
        refuses(second, "give this pipeline its own scheduler")


def test_schedulers_with_two_calls_a_step_are_refused(flux):
    pipe = flux.make()
    for scheduler in (FlowMatchHeunDiscreteScheduler(), HeunDiscreteScheduler(), KDPM2DiscreteScheduler()):
        pipe.scheduler = scheduler
        refuses(pipe, "2 times a step; use a scheduler of order 1")


@pytest.mark.parametrize("skip_prk_steps", [False, True])
def test_schedulers_that_repeat_steps_are_refused_before_the_first_call(sdxl, skip_prk_steps):
    pipe = sdxl.make()
    pipe.scheduler = PNDMScheduler(skip_prk_steps=skip_prk_steps)
    with attach(pipe, CONFIG) as handle, pytest.raises(SpectrumError, match="calls for 9 steps"):
        sdxl.run(pipe)
    assert handle.statistics == Statistics()


def test_an_enabled_cache_is_refused_also_when_enabled_later(flux):
    pipe = flux.make()
    with attach(pipe, CONFIG):
        pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.1))
        with pytest.raises(SpectrumError, match="call its disable_cache"):
            flux.run(pipe)
    refuses(pipe, "call its disable_cache")


def test_a_denoiser_compiled_as_a_whole_is_refused(flux):
    pipe = flux.make()
    plain = pipe.transformer
    pipe.transformer = torch.compile(plain, backend="eager")
    with pytest.raises(SpectrumError, match="use compile_repeated_blocks"):
        attach(pipe, CONFIG)
    pipe.transformer = plain
    plain.compile(backend="eager")
    refuses(pipe, "use compile_repeated_blocks")


def test_pipelines_without_one_denoiser_are_refused(flux):
    pipe = FAMILIES["wan"].make()
    pipe.register_modules(transformer_2=FAMILIES["wan"].make().transformer)
    refuses(pipe, "has a second denoiser")
    pipe = flux.make()
    pipe.register_modules(transformer=None)
    with pytest.raises(SpectrumError, match="has no transformer or unet"):
        attach(pipe, CONFIG)


def test_replacing_scheduler_or_denoiser_while_attached_is_refused(flux):
    pipe = flux.make()
    scheduler, transformer = pipe.scheduler, pipe.transformer
    with attach(pipe, CONFIG):
        pipe.scheduler = type(scheduler).from_config(scheduler.config)
        with pytest.raises(SpectrumError, match="scheduler was replaced"):
            flux.run(pipe)
        pipe.scheduler = scheduler
        pipe.transformer = flux.make().transformer
        with pytest.raises(SpectrumError, match="denoiser was replaced"):
            flux.run(pipe)
        pipe.transformer = transformer
        flux.run(pipe)


def test_a_batch_that_changes_within_a_trajectory_is_refused(sdxl):
    pipe = sdxl.make()

    def drop_guidance(pipe, i, timestep, tensors):
        if i == 4:
            pipe._guidance_scale = 0.0
            return {name: tensor[-1:] for name, tensor in tensors.items()}
        return tensors

    names = ["prompt_embeds", "add_text_embeds", "add_time_ids"]
    stacks = stacks_of(pipe)
    with attach(pipe, CONFIG), pytest.raises(SpectrumError, match="at step 5; keep batch and size"):
        sdxl.run(pipe, callback_on_step_end=drop_guidance, callback_on_step_end_tensor_inputs=names)
    assert stacks_of(pipe) == stacks


def test_without_a_config_the_defaults_hold(flux):
    with attach(flux.make()) as handle:
        assert handle.plan_for(50).evaluated == (0, 1, 2, 3, 4, 6, 8, 11, 15, 20, 25, 31, 38, 46)
        assert handle.plan_for(50) is handle.plan_for(50)
