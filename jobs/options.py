"""From Hydra's config to checked options. Everything that can be refused without a model is refused here."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from jobs.algo import read_calibration, with_defaults
from jobs.checks import (
    SCHEDULE_KEYS,
    boolean,
    check_frames,
    check_keys,
    check_model,
    check_size,
    checked_algo,
    number,
    one_of,
    text,
    whole,
)
from jobs.encode import FORMATS
from jobs.errors import BadInput
from jobs.parallel.degrees import Degrees, Size, check_divides, check_shareable
from jobs.plan import Plan
from jobs.prompts import PromptTable, read_prompts
from jobs.weights import Weights, find_weights

PROJECT = Path(__file__).resolve().parents[1]
# What a model config sets, and the command line or the prompt file may set otherwise.
DEFAULTS = ("height", "width", "num_frames", "num_inference_steps", "guidance_scale")


@dataclass(frozen=True)
class Options:
    """What the user chose, checked. ``model`` and ``algo`` are the config groups as plain dicts.

    ``weights`` may name weights that are not there: ``Weights.check``.
    """

    model: dict[str, Any]
    algo: dict[str, Any]
    weights: Weights
    prompt_file: Path
    total_prompt_num: int | None
    samples_per_prompt: int
    seed: int
    num_inference_steps: int
    height: int
    width: int
    num_frames: int
    guidance_scale: float
    negative_prompt: str
    run_path: Path
    shard_size: int
    batch_size: int
    image_format: str
    image_quality: int
    video_crf: int
    parallel: Degrees
    ngpu: int
    device: str
    cpu_threads: int
    shards: str | None
    shards_per_task: int | None
    sample_attempts: int
    dry_run: bool

    @property
    def workers(self) -> int:
        """Samples that are made at once on this machine."""
        return self.ngpu // self.parallel.size

    @property
    def makes_clips(self) -> bool:
        """Whether samples are clips rather than pictures."""
        return self.model["fps"] is not None


# What a config must hold, and nothing else.
ROOT_KEYS = {field.name for field in fields(Options)} - {"weights", "run_path"} | {
    *("output_base_path", "exp_name"),
    *SCHEDULE_KEYS,
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
    check_keys(value.keys() - {"hydra"}, ROOT_KEYS, "conf/generate.yaml")
    model, algo = value["model"], value["algo"]
    if not isinstance(model, dict) or not isinstance(algo, dict):
        raise BadInput("model and algo must each name one of the files in conf/model and conf/algo")
    check_model(model)
    algo = checked_algo(with_defaults(algo, model))
    degrees = _degrees(value["parallel"])
    prompt_file = find_prompt_file(text("prompt_file", value["prompt_file"]))
    name = value["exp_name"]
    name = f"{model['name']}-{prompt_file.stem}" if name is None else text("exp_name", name)
    options = Options(
        model=model,
        algo=algo,
        weights=find_weights(model["path"], model["revision"]),
        prompt_file=prompt_file,
        total_prompt_num=whole("total_prompt_num", value["total_prompt_num"], 1, optional=True),
        samples_per_prompt=whole("samples_per_prompt", value["samples_per_prompt"], 1, 9999),
        seed=whole("seed", value["seed"], 0, 2**63 - 1),
        num_inference_steps=whole("num_inference_steps", _or(value, model, "num_inference_steps"), 1),
        height=whole("height", _or(value, model, "height"), 1),
        width=whole("width", _or(value, model, "width"), 1),
        num_frames=whole("num_frames", _or(value, model, "num_frames"), 1),
        guidance_scale=number("guidance_scale", _or(value, model, "guidance_scale"), 0),
        negative_prompt="" if value["negative_prompt"] is None else text("negative_prompt", value["negative_prompt"]),
        run_path=Path(text("output_base_path", value["output_base_path"])).expanduser() / name,
        shard_size=whole("shard_size", value["shard_size"], 1),
        batch_size=whole("batch_size", _or(value, model, "batch_size"), 1),
        image_format=one_of("image_format", value["image_format"], FORMATS),
        image_quality=whole("image_quality", value["image_quality"], 1, 100),
        video_crf=whole("video_crf", value["video_crf"], 0, 51),
        parallel=degrees,
        ngpu=whole("ngpu", value["ngpu"], 1, optional=True) or degrees.size,
        device=one_of("device", value["device"], ("auto", "cuda", "cpu")),
        cpu_threads=whole("cpu_threads", value["cpu_threads"], 1),
        shards=_shards(value["shards"]),
        shards_per_task=whole("shards_per_task", value["shards_per_task"], 1, optional=True),
        sample_attempts=whole("sample_attempts", value["sample_attempts"], 1),
        dry_run=boolean("dry_run", value["dry_run"]),
    )
    for axis in ("height", "width"):
        check_size(axis, getattr(options, axis), model)
    check_frames(options.num_frames, model)
    check_divides(Size(options.height, options.width, options.num_frames), model, degrees)
    check_shareable(model, options.weights.folder, degrees, options.guidance_scale)
    if options.ngpu % degrees.size:
        raise BadInput(
            f"ngpu={options.ngpu} is no multiple of the {degrees.size} ranks that {degrees} makes of each worker: "
            f"set ngpu={max(1, options.ngpu // degrees.size) * degrees.size}, or leave it out"
        )
    if options.negative_prompt and not model["negative_prompts"]:
        raise BadInput(f"negative_prompt is nothing that model {model['name']} can take: leave it out")
    if options.negative_prompt and options.guidance_scale <= 1:
        raise BadInput(
            f"negative_prompt does nothing at guidance_scale={options.guidance_scale:g}: "
            "use a guidance_scale above 1, or leave it out"
        )
    return options


def make_plan(options: Options) -> Plan:
    """Read the prompts and lay out the run.

    Raises:
        BadInput: the prompt file is wrong, or asks for what the model cannot do.
    """
    table = read_prompts(options.prompt_file, options.total_prompt_num)
    _check_table(table, options)
    defaults = {name: getattr(options, name) for name in (*DEFAULTS, "negative_prompt")}
    return Plan(table, defaults, options.seed, options.samples_per_prompt, options.shard_size, options.batch_size)


def identity(options: Options, plan: Plan) -> dict[str, Any]:
    """What decides the bytes of a run's tars; the same directory is refused to any other."""
    deciding = (
        *("name", "path", "dtype", "vae_dtype", "vae_tiling", "scheduler", "scheduler_args"),
        *("guidance_argument", "negative_prompts", "compile", "call"),
    )
    model = {name: options.model[name] for name in deciding}
    if options.weights.local:
        del model["path"]  # the revision is a digest of the directory, wherever it lies
    if options.makes_clips:
        media = {"fps": options.model["fps"], "video_crf": options.video_crf}
    else:
        media = {"image_format": options.image_format, "image_quality": options.image_quality}
    return {
        "prompt_file": {
            "format": options.prompt_file.suffix.lower(),
            "sha256": plan.table.sha256,
            "prompts": len(plan.table),
        },
        "model": {**model, "revision": options.weights.revision},
        "algo": deciding_algo(options.algo),
        **plan.defaults,
        **media,
        "seed": options.seed,
        "samples_per_prompt": options.samples_per_prompt,
        "shard_size": options.shard_size,
        "batch_size": options.batch_size,
        "cpu_threads": options.cpu_threads,
        # Only where samples are shared: runs from before they could be go on.
        **({"parallel": options.parallel.shared} if options.parallel.size > 1 else {}),
    }


def deciding_algo(algo: dict[str, Any]) -> dict[str, Any]:
    """What of an algo config decides bytes: of a calibration the contents, and not where features are kept."""
    algo = {name: value for name, value in algo.items() if name != "history_device"}
    if algo.get("calibration") is not None:
        algo["calibration"] = read_calibration(algo["calibration"]).digest
    return algo


def find_prompt_file(path: str) -> Path:
    """A path as given; a relative one that is not here is looked for in the project (its own prompts/)."""
    given = Path(path).expanduser()
    shipped = PROJECT / given
    return shipped if not given.exists() and shipped.exists() else given


def _check_table(table: PromptTable, options: Options) -> None:
    model = options.model
    for axis in ("height", "width"):
        for index, pixels in enumerate(table.settings.get(axis, [])):
            if pixels is not None:
                check_size(axis, pixels, model, f"{table.where(index)}: ")
    for index, num_frames in enumerate(table.settings.get("num_frames", [])):
        if num_frames is not None:
            check_frames(num_frames, model, f"{table.where(index)}: ")
    if options.parallel.sequence > 1:
        default = Size(options.height, options.width, options.num_frames)
        names = ("height", "width", "num_frames")
        own = {name: table.settings[name] for name in names if name in table.settings}
        for index in range(len(table) if own else 0):
            size = replace(default, **{name: given[index] for name, given in own.items() if given[index] is not None})
            check_divides(size, model, options.parallel, f"{table.where(index)}: ")
    if not model["negative_prompts"] and any(table.settings.get("negative_prompt", [])):
        raise BadInput(
            f"{table.path} has negative prompts, which model {model['name']} does not take: remove the column"
        )


def _degrees(value: Any) -> Degrees:
    if not isinstance(value, dict):
        raise BadInput(f"parallel has the parts ulysses, ring and cfg: set them like parallel.ulysses=2, not {value!r}")
    check_keys(value, set(vars(Degrees())), "conf/generate.yaml", "parallel.")
    limits = {"ulysses": None, "ring": None, "cfg": 2}
    return Degrees(**{name: whole(f"parallel.{name}", value[name], 1, high) for name, high in limits.items()})


def _shards(value: Any) -> str | None:
    """``[0-3,7]`` (a list to Hydra) and ``0-3`` mean the same kind of thing."""
    if value is None:
        return None
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _or(value: dict[str, Any], model: dict[str, Any], name: str) -> Any:
    return model[name] if value[name] is None else value[name]
