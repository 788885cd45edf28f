"""From a composed config to ``Options``: what the user chose, in its own types, checked by itself and together."""

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from jobs.base.errors import BadInput
from jobs.dataset.source import PromptSource
from jobs.options.container import Container
from jobs.options.degrees import Degrees
from jobs.options.explain import explain, option_names
from jobs.options.fields import check_group
from jobs.options.model import FeatureOptions, ModelOptions, SampleOptions
from jobs.options.places import find_shipped
from jobs.options.schema import AlgoOptions, Options
from jobs.parallel.limits import Size, check_divides
from jobs.parallel.ranks import network_of
from jobs.run.checks import check_frames, check_model, check_size


def read_options(cfg: DictConfig) -> Options:
    """Check a composed config's options, in themselves and together; what is left to the model is filled in.

    Raises:
        BadInput: names the option and what it must be.
    """
    try:
        given: Any = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise BadInput(explain(error)) from None
    given.pop("hydra", None)
    given["shards"] = _shards(given.get("shards"))
    known = option_names()
    values = check_group(given, Options, known=known)
    model = check_group(values["model"], ModelOptions, "model.", known)
    model["feature"] = FeatureOptions(**check_group(model["feature"], FeatureOptions, "model.feature.", known))
    values["model"] = ModelOptions(**model)
    values["algo"] = AlgoOptions(**check_group(values["algo"], AlgoOptions, "algo.", known))
    values["parallel"] = Degrees(**check_group(values["parallel"], Degrees, "parallel.", known))
    values["container"] = Container(**check_group(values["container"], Container, "container.", known))
    check_model(values["model"])
    options = _with_defaults(Options(**values))
    _check_together(options)
    return options


def _with_defaults(options: Options) -> Options:
    """Fill in what the command line leaves to the model, and this machine's share of the work."""
    filled: dict[str, Any] = {}
    for one in fields(SampleOptions):
        values = (getattr(options, one.name), getattr(options.model, one.name), one.metadata["fallback"])
        filled[one.name] = next((value for value in values if value is not None), None)
        if filled[one.name] == MISSING:
            raise BadInput(f"model.{one.name} is missing: give it a value, like model.{one.name}=...")
    prompt_file = options.prompt_file
    if "://" not in prompt_file:
        prompt_file = str(find_shipped(prompt_file))
    return replace(
        options,
        **filled,
        prompt_file=prompt_file,
        exp_name=options.exp_name or f"{options.model.name}-{PromptSource(prompt_file).name}",
        batch_size=options.batch_size or options.model.batch_size,
        ngpu=options.ngpu or options.parallel.size,
    )


def _check_together(options: Options) -> None:
    model, degrees = options.model, options.parallel
    for axis in ("height", "width"):
        check_size(axis, getattr(options, axis), model)
    check_frames(options.num_frames, model)
    check_divides(Size(options.height, options.width, options.num_frames), model, degrees)
    if options.ngpu % degrees.size:
        raise BadInput(
            f"ngpu={options.ngpu} is not a multiple of the {degrees.size} ranks that {degrees} makes of each worker: "
            f"set ngpu={max(1, options.ngpu // degrees.size) * degrees.size}, or leave it out"
        )
    if Path(str(options.exp_name)).is_absolute() or {".", ".."} & set(str(options.exp_name).split("/")):
        raise BadInput(f"exp_name must be a name below output_base_path, not {options.exp_name!r}")
    network_of(options)
    if options.key_prefix is not None and not re.fullmatch(r"[\w-]+", options.key_prefix, re.ASCII):
        raise BadInput(f"key_prefix must be letters, digits, - and _, not {options.key_prefix!r}")
    if options.audit_every is not None and options.algo.name == "nocache":
        raise BadInput("audit_every compares forecasts with all steps, and algo=nocache forecasts none: leave it out")
    if options.audit_every is not None and degrees.size > 1:
        raise BadInput(f"audit_every is for samples that ranks do not share: leave it out, or {degrees}")
    if options.negative_prompt and not model.negative_prompts:
        raise BadInput(f"model {model.name} does not support negative_prompt: leave it out")
    if options.negative_prompt and options.guidance_scale <= 1:
        raise BadInput(
            f"negative_prompt does nothing at guidance_scale={options.guidance_scale:g}: "
            "use a guidance_scale above 1, or leave it out"
        )


def _shards(value: Any) -> str | None:
    """Read ``[0-3,7]`` (a list to Hydra) and ``0-3`` alike."""
    if value is None:
        return None
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
