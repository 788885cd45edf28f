"""From a composed config to a ``Run``. Everything that can be refused without loading a model is refused here."""

import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from jobs.base.errors import BadInput
from jobs.dataset.layout import Layout
from jobs.dataset.prompt_files import read_prompts
from jobs.dataset.source import PromptSource, source_of
from jobs.media.image import ImageFormat, MediaFormat
from jobs.media.video import VideoFormat
from jobs.model.checkpoint import Checkpoint, find_checkpoint
from jobs.model.choose_forecast import resolve_forecast
from jobs.model.environment import check_attention_backend
from jobs.model.loras import read_loras
from jobs.model.parts import check_fit, read_parts
from jobs.model.preflight import check_pipeline, read_json
from jobs.model.single_file import check_single_file
from jobs.options.cards import check_card
from jobs.options.container import Container
from jobs.options.degrees import Degrees
from jobs.options.explain import explain, option_names
from jobs.options.fields import check_group, shown
from jobs.options.places import find_shipped
from jobs.options.schema import (
    AUTO,
    WORK_PATH,
    AlgoOptions,
    FeatureOptions,
    ModelOptions,
    Options,
    SampleOptions,
)
from jobs.parallel.limits import Size, check_divides, check_shareable
from jobs.parallel.ranks import network_of
from jobs.run.calibration import settle
from jobs.run.checks import check_frames, check_model, check_size, check_table
from jobs.run.growth import is_untouched, raised
from jobs.run.identity import identity_of, run_id
from jobs.run.run import Run
from jobs.store.address import check_address
from jobs.store.mirror import pull
from jobs.store.rundir import RunDir

# Of a run with batches of one and no tiles, the option ``card``, and which option's value is to be found.
Choose = Callable[[Run, str | None, str], Any]
# What is found, in words: tiles first, since it depends on them how many samples fit.
VALUES = {"model.vae_tiling": "true or false", "batch_size": "a number"}
_LEAST = {"model.vae_tiling": False, "batch_size": 1}


def resolve(cfg: DictConfig, *, pin: bool = False, choose: Choose | None = None) -> Run:
    """Check a composed config and work out all that follows from it; nothing is written.

    Args:
        cfg: the composed config.
        pin: whether to go on with what the run in this directory began with: commit, name and what is ``auto``.
        choose: says what is ``auto`` of a run that begins.

    Raises:
        BadInput: anything a user can mend, in one sentence.
    """
    options = read_options(cfg)
    if left := _left_open(cfg):
        return _with_own(cfg, options, left[0], pin, choose)
    if options.card is not None:
        raise BadInput(
            f"card={options.card} says what batch_size=auto or model.vae_tiling=auto is to fit: add one of these, or "
            "leave it out"
        )
    directory = _directory(options)
    if pin:
        pull(directory)
    record = directory.read() if pin and directory.exists() else {}
    model = options.model
    found = find_checkpoint(model.path, model.revision, model.variant, model.config)
    checkpoint = replace(found, loras=read_loras(model.loras), parts=read_parts(model))
    if record and not checkpoint.local:
        checkpoint = _pinned(options, checkpoint, record)
    if options.oom == "adapt" and options.parallel.size > 1:
        raise BadInput(f"oom=adapt does not go with {options.parallel}, whose ranks share each call: leave it out")
    check_attention_backend()
    check_shareable(options.model, checkpoint.folder, options.parallel, options.guidance_scale)
    check_pipeline(options, checkpoint.folder)
    index = read_json(checkpoint.folder / "model_index.json") if checkpoint.folder else {}
    check_fit(checkpoint.parts, index, model)
    if checkpoint.single and index:
        check_single_file(checkpoint.single, index, model)
    forecast = resolve_forecast(options, checkpoint)
    table = read_prompts(_pinned_source(options, record), options.total_prompt_num)
    check_table(table, options)
    defaults = SampleOptions(**{one.name: getattr(options, one.name) for one in fields(SampleOptions)})
    layout = Layout(
        table,
        defaults,
        options.seed,
        options.samples_per_prompt,
        options.shard_size,
        options.batch_size,
        options.key_prefix or "",
        raised=raised(directory, record, options.samples_per_prompt),
    )
    media = _media(options)
    forecast = settle(forecast, options, checkpoint, layout, directory, record)
    identity = identity_of(options, checkpoint, forecast, layout, media)
    name = record.get("name") or str(options.exp_name)
    own_id = run_id(name, identity, table.texts[0])
    return Run(options, checkpoint, forecast, layout, media, directory, name, own_id, identity, _yaml(cfg))


def _with_own(cfg: DictConfig, options: Options, option: str, pin: bool, choose: Choose | None) -> Run:
    """Resolve a run of which an option is ``auto``, whose value is found once: it decides bytes."""

    def given(value: Any) -> Run:
        found = cfg.copy()
        OmegaConf.update(found, option, value)
        if not _left_open(found):
            found.card = None
        return resolve(found, pin=pin, choose=choose)

    if options.card is not None:
        check_card(options.card)
    directory = _directory(options)
    if pin:
        pull(directory)
        if directory.exists():
            begun = directory.read()["identity"]
            run = given(OmegaConf.select(OmegaConf.create(begun), option))
            if run.identity == begun or not is_untouched(directory):
                return replace(run, notes=_kept(run, options.card))
    if choose is None:
        raise BadInput(f"{option}=auto is found where a run begins, by jobs.generate: give {VALUES[option]} here")
    least = cfg.copy()
    for other in _left_open(cfg):
        OmegaConf.update(least, other, _LEAST[other])
    least.card = None
    return given(choose(resolve(least, pin=pin), options.card, option))


def _kept(run: Run, card: str | None) -> tuple[str, ...]:
    """Return what is to be said where the user names a card, and the run has long fitted one."""
    if card is None:
        return ()
    values = f"batch_size={run.options.batch_size} and model.vae_tiling={shown(run.options.model.vae_tiling)}"
    return (f"{run.directory.name}: card={card} changes nothing, because the run keeps {values}, as it began",)


def _left_open(cfg: DictConfig) -> list[str]:
    return [option for option in VALUES if OmegaConf.select(cfg, option) == AUTO]


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


def _directory(options: Options) -> RunDir:
    base, name, work = options.output_base_path, str(options.exp_name), options.work_path
    if "://" in base:
        kind = check_address(base, "output_base_path")
        directory = RunDir(Path(work or WORK_PATH).expanduser() / name, f"{base.rstrip('/')}/{name}")
        if kind == "file" and _overlap(directory.path, Path(directory.url.removeprefix("file://"))):
            raise BadInput(f"work_path: {directory.path} is in {directory.url}, or around it: choose another work_path")
        return directory
    if work:
        raise BadInput(f"work_path={work} is for runs in a store (output_base_path=s3://BUCKET/FOLDER): leave it out")
    directory = RunDir(Path(base).expanduser() / name)
    if directory.url:
        store = directory.url.removesuffix(f"/{name}")
        raise BadInput(
            f"{directory.path} is where a run works that is in a store: add output_base_path={store} and "
            f"work_path={base} to go on with it, or choose another exp_name"
        )
    return directory


def _overlap(one: Path, other: Path) -> bool:
    one, other = one.resolve(), other.resolve()
    return one.is_relative_to(other) or other.is_relative_to(one)


def _pinned(options: Options, checkpoint: Checkpoint, record: dict[str, Any]) -> Checkpoint:
    """Go on with the commit a run began with, although the branch it was asked for by may mean another one by now."""
    recorded = record["identity"]["model"]
    same = options.model.path == recorded.get("path") and options.model.revision == record.get("revision_asked")
    if not same:
        return checkpoint
    commit = recorded["revision"] and recorded["revision"].split(" ")[0]
    pinned = find_checkpoint(options.model.path, commit)
    return replace(pinned, variant=checkpoint.variant, loras=checkpoint.loras, parts=checkpoint.parts)


def _pinned_source(options: Options, record: dict[str, Any]) -> PromptSource:
    """Likewise with the commit of a dataset of prompts on the hub."""
    source, then = source_of(options), record.get("prompts_asked", {})
    same = (then.get("location"), then.get("split")) == (source.location, source.split)
    return replace(source, commit=then["commit"]) if same else source


def _media(options: Options) -> MediaFormat:
    said = {"mark": options.mark, "parameters": options.parameters}
    if options.model.fps is not None:
        return VideoFormat(options.model.fps, options.video_crf, options.video_keyframes, **said)
    return ImageFormat(options.image_format, options.image_quality, **said)


def _shards(value: Any) -> str | None:
    """Read ``[0-3,7]`` (a list to Hydra) and ``0-3`` alike."""
    if value is None:
        return None
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _yaml(cfg: DictConfig) -> str:
    cfg = cfg.copy()
    with open_dict(cfg):
        cfg.pop("hydra", None)
    return OmegaConf.to_yaml(cfg, resolve=True)
