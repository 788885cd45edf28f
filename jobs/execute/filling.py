"""``batch_size=auto`` and ``model.vae_tiling=auto``: which GPU a run is to fit, when it begins."""

import sys
from typing import Any

from jobs.base.errors import BadInput
from jobs.execute import queue
from jobs.execute.launch import Launcher
from jobs.options.cards import Card, card_named, check_card
from jobs.options.fields import shown
from jobs.options.schema import Options
from jobs.run.resolve import VALUES
from jobs.run.run import Run


def fill(run: Run, asked: str | None, option: str, launcher: Launcher | None = None) -> int | bool:
    """Return an option's value of a run that begins, and say why on standard error.

    Args:
        run: with batches of one and no tiles, where these are to be found.
        asked: the option ``card``.
        option: ``batch_size`` or ``model.vae_tiling``.
        launcher: of the tasks that make it; None: this command makes it.

    Raises:
        BadInput: it is not known what is to fit, or not one sample fits.
    """
    from jobs.rehearse import fit  # imports torch and diffusers, for which no other command waits

    find = fit.fitting_batch if option == "batch_size" else fit.needs_tiles
    value, why = find(run, _card(run.options, asked, option, launcher))
    print(f"note: {run.directory.name}: {option}=auto is {shown(value)}: {why}", file=sys.stderr)
    return value


def _card(options: Options, asked: str | None, option: str, launcher: Launcher | None) -> Card:
    if asked is not None:
        return check_card(asked)
    card: Card | None
    if launcher is None or launcher.on_this_machine:
        card, why = _card_here(options), "this run computes on the CPU"
    elif options.device == "cpu" or (options.device == "auto" and not options.model.gpus):
        card, why = None, "the tasks of this run compute on CPUs"
    else:
        card, why = _card_of(launcher.settings), "neither hydra.launcher.gres nor the partition names one that is known"
    if card is None:
        raise BadInput(
            f"{option}=auto fits a batch to a GPU, and {why}: give {option} {VALUES[option]}, or name the GPU, like "
            "card=H100 or card=24GB"
        )
    return card


def _card_here(options: Options) -> Card | None:
    import torch

    if options.device == "cpu" or not torch.cuda.is_available():
        return None
    used = [torch.cuda.get_device_properties(number) for number in range(min(options.ngpu, torch.cuda.device_count()))]
    least = min(used, key=lambda one: one.total_memory)
    return Card(least.name, least.total_memory / 2**30)


def _card_of(settings: dict[str, Any]) -> Card | None:
    """Return the GPU that the launcher asks for by name; else the one with least memory that the partition has."""
    if named := card_named(f"{settings.get('gres')} {settings.get('constraint')}"):
        return named
    kinds = queue.gpu_types(settings["partition"])
    cards = [card for kind in kinds if (card := card_named(kind))]
    return min(cards, key=lambda card: card.memory) if cards and len(cards) == len(kinds) else None
