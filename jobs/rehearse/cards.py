"""What a rehearsal means on cards by name: whether it fits, how, how long it takes at best, and what a run costs."""

from dataclasses import dataclass

from jobs.base.times import GENERATES
from jobs.options.cards import Card
from jobs.rehearse.rehearsal import DECODE, DENOISE, ENCODE, Rehearsal
from jobs.report.dryrun import steps_of
from jobs.run.run import Run

UTILISATION = 0.4  # share of a card's arithmetic that large matrix products reach in practice: assumed
LARGEST = 256  # samples that a batch may have


@dataclass(frozen=True)
class Memory:
    """Bytes on the card at once, for a number of samples in a batch.

    Attributes:
        weights: of all networks.
        history: kept to forecast from.
        main: the same where it is kept in main memory, and not among the others.
        denoising: history and the denoiser's activations.
        decoding: the autoencoder's.
        encoding: the text encoders'.
    """

    weights: int
    history: int
    main: int
    denoising: int
    decoding: int
    encoding: int

    @property
    def peak(self) -> int:
        """Bytes at the fullest moment with every network on the card."""
        return self.weights + max(self.denoising, self.decoding, self.encoding)


def memory_of(run: Run, rehearsal: Rehearsal, samples: int) -> Memory:
    """Return what a batch of so many samples fills; of ranks that share it, on rank 0, which has the text encoders."""
    share = samples / rehearsal.batch
    denoised = share / run.options.parallel.size
    # Each rank has outputs whole, and of features its own part.
    kept = share if run.options.algo.target == "output" else denoised
    history, main = int(kept * rehearsal.row * steps_of(run).rows), 0
    if run.options.algo.history_device:
        history, main = 0, history
    peaks = [rehearsal.evaluated.peak, *([rehearsal.forecast.peak] if rehearsal.forecast else [])]
    decoding = rehearsal.decode.peak * (1 if run.options.model.vae_tiling else share)  # which decodes one by one
    weights = sum(part.bytes for part in rehearsal.parts)
    encoding = int(share * rehearsal.encode.peak)
    return Memory(weights, history, main, history + int(denoised * max(peaks)), int(decoding), encoding)


def needs(run: Run, rehearsal: Rehearsal, samples: int) -> dict[str, int]:
    """Return the bytes that a batch of so many samples needs on the card with each ``model.offload``, fastest first."""
    memory = memory_of(run, rehearsal, samples)
    at_once = {ENCODE: memory.encoding, DENOISE: memory.denoising, DECODE: memory.decoding}

    def weights(stage: str) -> list[int]:
        return [part.bytes for part in rehearsal.parts if part.stage == stage]

    one_by_one = max(max(weights(stage), default=0) + work for stage, work in at_once.items())
    leaf_by_leaf = sum(weights(DECODE)) + max(at_once.values())
    return {"none": memory.peak, "model": one_by_one, "group": leaf_by_leaf, "sequential": max(at_once.values())}


def offload_on(run: Run, rehearsal: Rehearsal, card: Card) -> str | None:
    """Return the fastest ``model.offload`` with which one sample fits on a card; None where none does."""
    return next((offload for offload, need in needs(run, rehearsal, 1).items() if need <= card.usable), None)


def largest_batch(run: Run, rehearsal: Rehearsal, card: Card, offload: str = "none") -> int:
    """Return the samples of a batch that fit on a card, with all weights there or offloaded; 0 where one does not."""
    samples = 0
    while samples < LARGEST and needs(run, rehearsal, samples + 1)[offload] <= card.usable:
        samples += 1
    return samples


def seconds_on(run: Run, rehearsal: Rehearsal, card: Card, utilisation: float = UTILISATION) -> float | None:
    """Return the seconds a sample takes on a card; None for float32, of which data sheets tell too little.

    Matrix products, convolutions and attention at a share of what the card can do, and each history read once for each
    forecast step. Offloading, the host, files, and what ranks send each other are left out.
    """
    if run.options.model.dtype == "float32":
        return None
    steps = steps_of(run)
    forecast = rehearsal.forecast.flops if rehearsal.forecast else 0
    ranks = run.options.parallel.size
    denoising = (steps.evaluated * rehearsal.evaluated.flops + steps.forecast * forecast) / ranks
    decoding = rehearsal.decode.flops / (ranks if run.options.model.vae_tiling else 1)
    computing = (rehearsal.encode.flops + denoising + decoding) / (utilisation * card.tflops * 1e12)
    history = memory_of(run, rehearsal, rehearsal.batch).history
    reading = steps.forecast * history / (card.bandwidth * 1e12)
    return (computing + reading) / rehearsal.batch


def shards_in_a_task(run: Run, seconds: float) -> int:
    """Return how many shards a task takes so that it generates for half an hour."""
    return max(1, -int(-GENERATES // (seconds * run.layout.shard_size)))
