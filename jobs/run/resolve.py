"""From a composed config to a ``Run``. Everything that can be refused without loading a model is refused here."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from jobs.base.checkpoint_json import read_index
from jobs.base.errors import BadInput
from jobs.dataset.layout import Layout
from jobs.dataset.prompt_files import read_prompts
from jobs.dataset.source import PromptSource, source_of
from jobs.media.image import ImageFormat, MediaFormat
from jobs.media.video import VideoFormat
from jobs.model.checkpoint import Checkpoint, find_checkpoint
from jobs.model.choose_forecast import resolve_forecast
from jobs.model.environment import check_attention_backend
from jobs.model.fit import check_sizes
from jobs.model.loras import read_loras
from jobs.model.parts import check_fit, read_parts
from jobs.model.preflight import check_pipeline
from jobs.model.single_file import check_single_file
from jobs.options.cards import check_card
from jobs.options.fields import shown
from jobs.options.model import AUTO, SampleOptions
from jobs.options.schema import WORK_PATH, Options
from jobs.parallel.limits import check_shareable
from jobs.run.calibration import settle
from jobs.run.checks import check_table
from jobs.run.growth import is_untouched, raised
from jobs.run.identity import identity_of, run_id
from jobs.run.read_options import read_options
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
    index = read_index(checkpoint.folder) if checkpoint.folder else {}
    check_fit(checkpoint.parts, index, model)
    check_sizes(checkpoint)
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


def _directory(options: Options) -> RunDir:
    base, name, work = options.output_base_path, str(options.exp_name), options.work_path
    if "://" in base:
        check_address(base, "output_base_path")
        directory = RunDir(Path(work or WORK_PATH).expanduser() / name, f"{base.rstrip('/')}/{name}")
        directory.check_apart()
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


def _yaml(cfg: DictConfig) -> str:
    cfg = cfg.copy()
    with open_dict(cfg):
        cfg.pop("hydra", None)
    return OmegaConf.to_yaml(cfg, resolve=True)
