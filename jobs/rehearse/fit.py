"""How much of a run fits onto a GPU at once: what ``batch_size=auto`` and ``model.vae_tiling=auto`` are."""

from dataclasses import replace

from jobs.base.disk import human_bytes
from jobs.base.errors import BadInput
from jobs.dataset.layout import Sample
from jobs.options.cards import Card
from jobs.rehearse.cards import LARGEST, largest_batch, needs, offload_on
from jobs.rehearse.counting import Work
from jobs.rehearse.rehearsal import Rehearsal, rehearse
from jobs.run.run import Run


def fitting_batch(run: Run, card: Card) -> tuple[int, str]:
    """Return how many samples a batch of the run may have on a card, and a sentence that says why.

    It is for the run's largest sample. A batch is no larger than a shard, and one that would be cut into so many calls
    anyway is made as even as it gets.

    Raises:
        BadInput: not one fits, with what would help; or the model cannot be rehearsed.
    """
    sample = largest_sample(run)
    rehearsal = rehearse(run, sample)
    offload, size = run.options.model.offload, run.options.shard_size
    most = largest_batch(run, rehearsal, card, offload)
    if not most:
        raise BadInput(_too_small(run, sample, rehearsal, card))
    calls = -(-size // most)
    number = -(-size // calls)
    held = f"shards of {size} are made in {calls} {'calls' if calls > 1 else 'call'}"
    need = human_bytes(needs(run, rehearsal, number)[offload])
    fit = f"{most}{' or more' if most == LARGEST else ''} fit on {card.name}"
    return number, f"{fit}, {held} of {number}, which need {need} of {human_bytes(card.usable)}"


def needs_tiles(run: Run, card: Card) -> tuple[bool, str]:
    """Return whether decoding a call of the run fits on a card in tiles only, and a sentence that says why.

    It is for the run's largest sample.

    Raises:
        BadInput: the model cannot be rehearsed.
    """
    rehearsal = rehearse(run, largest_sample(run))
    decoding = replace(rehearsal, encode=Work(), evaluated=Work(), forecast=None, row=0)
    samples = run.options.batch_size
    need = needs(run, decoding, samples)[run.options.model.offload]
    call = f"{samples} samples at once needs" if samples > 1 else "one sample needs"
    return need > card.usable, f"decoding {call} {human_bytes(need)} of {human_bytes(card.usable)} on {card.name}"


def largest_sample(run: Run) -> Sample:
    """Return the sample whose pixels, frames and guidance branches are most."""
    layout, table = run.layout, run.layout.table
    defaults, guided = layout.defaults, run.options.model.negative_prompts
    prompts = range(len(table)) if layout.is_mixed else range(1)

    def size(prompt: int) -> int:
        own = {**vars(defaults), **table.own_settings(prompt)}
        branches = 2 if guided and own["guidance_scale"] > 1 else 1
        return int(own["height"] * own["width"] * own["num_frames"] * branches)

    return layout.sample(layout.numbering.of(max(prompts, key=size), 0))


def _too_small(run: Run, sample: Sample, rehearsal: Rehearsal, card: Card) -> str:
    options, made = run.options, sample.options
    clip = f" x {made.num_frames} frames" if run.makes_clips else ""
    said = (
        f"batch_size=auto: not one sample of {made.width}x{made.height}{clip} fits on {card.name} with "
        f"model.offload={options.model.offload}"
    )
    offload = offload_on(run, rehearsal, card) if options.parallel.size == 1 else None
    if offload:
        return f"{said}: use model.offload={offload}"
    tiles = [] if options.model.vae_tiling else ["model.vae_tiling=true"]
    return f"{said}: use {', '.join([*tiles, 'a smaller size'])} or a larger GPU"
