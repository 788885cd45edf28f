"""From Hydra's config to checked options. Everything that can be refused without a model is refused here."""

import difflib
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from jobs.encode import FORMATS
from jobs.errors import BadInput
from jobs.models import model_revision, resolve_path
from jobs.plan import Plan
from jobs.prompts import PromptTable, read_prompts

PROJECT = Path(__file__).resolve().parents[1]
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Options:
    """What the user chose, checked. ``model`` and ``algo`` are the config groups as plain dicts."""

    model: dict[str, Any]
    algo: dict[str, Any]
    model_revision: str
    prompt_file: Path
    total_prompt_num: int | None
    samples_per_prompt: int
    seed: int
    num_inference_steps: int
    height: int
    width: int
    guidance_scale: float
    run_path: Path
    shard_size: int
    batch_size: int
    image_format: str
    image_quality: int
    ngpu: int
    device: str
    cpu_threads: int
    shards: str | None
    shards_per_task: int | None
    sample_attempts: int


# What a config must hold, and nothing else: a misspelt key would otherwise do nothing, without a word.
ROOT_KEYS = {field.name for field in fields(Options)} - {"model_revision", "run_path"} | {
    *("output_base_path", "exp_name"),
    *("warmup_steps", "window_size", "flex_window"),  # conf/algo/*.yaml refer to them
}
MODEL_KEYS = {
    *("name", "path", "revision", "dtype", "scheduler", "scheduler_args", "height", "width", "size_multiple"),
    *("num_inference_steps", "guidance_scale", "guidance_argument", "negative_prompts", "gpus", "call"),
}


def read_options(cfg: DictConfig) -> Options:
    """Check a composed config.

    Raises:
        BadInput: names the option and what it must be.
    """
    try:
        value: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise BadInput(
            f"{error.full_key}: {str(error).splitlines()[0]}: give a value, or refer to something that exists"
        ) from None
    _check_keys(value.keys() - {"hydra"}, ROOT_KEYS, "conf/generate.yaml")
    model, algo = value["model"], value["algo"]
    if not isinstance(model, dict) or not isinstance(algo, dict):
        raise BadInput("model and algo must each name one of the files in conf/model and conf/algo")
    _check_model(model)
    algo = _checked_algo(algo)
    prompt_file = find_prompt_file(_text("prompt_file", value["prompt_file"]))
    name = value["exp_name"]
    name = f"{model['name']}-{prompt_file.stem}" if name is None else _text("exp_name", name)
    options = Options(
        model=model,
        algo=algo,
        model_revision=model_revision(model["path"], model["revision"]),
        prompt_file=prompt_file,
        total_prompt_num=_whole("total_prompt_num", value["total_prompt_num"], 1, optional=True),
        samples_per_prompt=_whole("samples_per_prompt", value["samples_per_prompt"], 1, 9999),
        seed=_whole("seed", value["seed"], 0, 2**63 - 1),
        num_inference_steps=_whole("num_inference_steps", _or(value, model, "num_inference_steps"), 1),
        height=_whole("height", _or(value, model, "height"), 1),
        width=_whole("width", _or(value, model, "width"), 1),
        guidance_scale=_number("guidance_scale", _or(value, model, "guidance_scale"), 0),
        run_path=Path(_text("output_base_path", value["output_base_path"])).expanduser() / name,
        shard_size=_whole("shard_size", value["shard_size"], 1),
        batch_size=_whole("batch_size", value["batch_size"], 1),
        image_format=_one_of("image_format", value["image_format"], FORMATS),
        image_quality=_whole("image_quality", value["image_quality"], 1, 100),
        ngpu=_whole("ngpu", value["ngpu"], 1),
        device=_one_of("device", value["device"], ("auto", "cuda", "cpu")),
        cpu_threads=_whole("cpu_threads", value["cpu_threads"], 1),
        shards=_shards(value["shards"]),
        shards_per_task=_whole("shards_per_task", value["shards_per_task"], 1, optional=True),
        sample_attempts=_whole("sample_attempts", value["sample_attempts"], 1),
    )
    for axis in ("height", "width"):
        check_size(axis, getattr(options, axis), model)
    return options


def make_plan(options: Options) -> Plan:
    """Read the prompts and lay out the run.

    Raises:
        BadInput: the prompt file is wrong, or asks for what the model cannot do.
    """
    table = read_prompts(options.prompt_file, options.total_prompt_num)
    _check_table(table, options)
    defaults = {name: getattr(options, name) for name in ("height", "width", "num_inference_steps", "guidance_scale")}
    return Plan(table, defaults, options.seed, options.samples_per_prompt, options.shard_size, options.batch_size)


def identity(options: Options, plan: Plan) -> dict[str, Any]:
    """What decides the bytes of a run's tars; the same directory is refused to any other."""
    deciding = (
        *("name", "path", "dtype", "scheduler", "scheduler_args"),
        *("guidance_argument", "negative_prompts", "call"),
    )
    model = {name: options.model[name] for name in deciding}
    if Path(resolve_path(model["path"])).is_dir():
        del model["path"]  # the revision is a digest of the directory, wherever it lies
    return {
        "prompt_file": {
            "format": options.prompt_file.suffix.lower(),
            "sha256": plan.table.sha256,
            "prompts": len(plan.table),
        },
        "model": {**model, "revision": options.model_revision},
        "algo": options.algo,
        **plan.defaults,
        "seed": options.seed,
        "samples_per_prompt": options.samples_per_prompt,
        "shard_size": options.shard_size,
        "batch_size": options.batch_size,
        "image_format": options.image_format,
        "image_quality": options.image_quality,
        "cpu_threads": options.cpu_threads,
    }


def find_prompt_file(path: str) -> Path:
    """A path as given; a relative one that is not here is looked for in the project (its own prompts/)."""
    given = Path(path).expanduser()
    shipped = PROJECT / given
    return shipped if not given.exists() and shipped.exists() else given


def check_size(axis: str, pixels: int, model: dict[str, Any], where: str = "") -> None:
    """Refuse a size the model's autoencoder and patches cannot divide."""
    multiple = model["size_multiple"]
    if pixels % multiple:
        below = max(pixels // multiple, 1) * multiple
        raise BadInput(
            f"{where}{axis}={pixels} does not fit model {model['name']}: it must be a multiple of {multiple}, "
            f"such as {below} or {below + multiple}"
        )


def no_such_option(name: str, known: Iterable[str]) -> str:
    """A sentence about an option that does not exist, with the nearest one that does."""
    close = difflib.get_close_matches(name, known, 1, cutoff=0.7)
    hint = f"did you mean {close[0]}?" if close else "python -m jobs.generate --help lists the options"
    return f"there is no option '{name}': {hint}"


def _check_keys(given: Iterable[str], wanted: set[str], file: str, prefix: str = "") -> None:
    for name in sorted(wanted.difference(given)):
        raise BadInput(f"{prefix}{name} is missing: give it a value, as {file} does")
    for name in sorted(set(given) - wanted):
        raise BadInput(no_such_option(f"{prefix}{name}", [f"{prefix}{known}" for known in wanted]))


def _check_model(model: dict[str, Any]) -> None:
    _check_keys(model, MODEL_KEYS, "conf/model/demo.yaml", "model.")
    _one_of("model.dtype", model["dtype"], DTYPES)
    for name in ("name", "path", "guidance_argument"):
        _text(f"model.{name}", model[name])
    if model["revision"] is not None:
        _text("model.revision", model["revision"])
    _whole("model.size_multiple", model["size_multiple"], 1)
    _whole("model.gpus", model["gpus"], 0)
    if not isinstance(model["negative_prompts"], bool):
        raise BadInput(f"model.negative_prompts must be true or false, not {_shown(model['negative_prompts'])}")
    for name in ("scheduler_args", "call"):
        if not isinstance(model[name], dict):
            raise BadInput(f"model.{name} must be a mapping like {{name: value}}, not {_shown(model[name])}")
    if model["scheduler"] is not None:
        import diffusers

        if not str(model["scheduler"]).endswith("Scheduler") or not hasattr(diffusers, str(model["scheduler"])):
            raise BadInput(
                f"model.scheduler={model['scheduler']} is not a scheduler of diffusers: "
                "give a class name such as FlowMatchEulerDiscreteScheduler, or null"
            )


def _checked_algo(algo: dict[str, Any]) -> dict[str, Any]:
    """The algorithm's options in their own types, so that w=1 and w=1.0 are the same run."""
    _one_of("algo.name", algo.get("name"), ("nocache", "spectrum"))
    if algo["name"] == "nocache":
        _check_keys(algo, {"name"}, "conf/algo/nocache.yaml", "algo.")
        return algo
    import spectrum

    config = spectrum.SpectrumConfig
    _check_keys(algo, {"name", *(field.name for field in fields(config))}, "conf/algo/spectrum.yaml", "algo.")
    try:
        checked = config(**{name: value for name, value in algo.items() if name != "name"})
    except spectrum.SpectrumError as error:  # begins with the option's name and ends with a full stop
        sentence = str(error).rstrip(".")
        raise BadInput(sentence if sentence.split()[0] in ROOT_KEYS else f"algo.{sentence}") from None
    real = {field.name for field in fields(config) if field.type is float}
    return {"name": "spectrum", **{name: float(x) if name in real else x for name, x in asdict(checked).items()}}


def _check_table(table: PromptTable, options: Options) -> None:
    model = options.model
    for axis in ("height", "width"):
        for index, pixels in enumerate(table.settings.get(axis, [])):
            if pixels is not None:
                check_size(axis, pixels, model, f"{table.where(index)}: ")
    if not model["negative_prompts"] and any(table.settings.get("negative_prompt", [])):
        raise BadInput(
            f"{table.path} has negative prompts, which model {model['name']} does not take: remove the column"
        )


def _shards(value: Any) -> str | None:
    """``[0-3,7]`` (a list to Hydra) and ``0-3`` mean the same kind of thing."""
    if value is None:
        return None
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _or(value: dict[str, Any], model: dict[str, Any], name: str) -> Any:
    return model[name] if value[name] is None else value[name]


def _whole(name: str, value: Any, low: int, high: int | None = None, optional: bool = False) -> Any:
    if optional and value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        upper = f" to {high}" if high is not None else " up"
        raise BadInput(f"{name} must be a whole number from {low}{upper}, not {_shown(value)}")
    return value


def _number(name: str, value: Any, low: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < low:
        raise BadInput(f"{name} must be a number of at least {low}, not {_shown(value)}")
    return float(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, (str, int, float)) or not str(value).strip():
        raise BadInput(f"{name} must be text, not {_shown(value)}")
    return str(value)


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise BadInput(f"{name} must be one of {', '.join(allowed)}, not {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """A value, null, true and false as they are written on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)
