"""The methods that save denoising steps: what each is called, and how it was set up.

Every peer is set up to run the denoiser whole on as many steps as a plan of Spectrum does, on the very same steps
where it lets one choose them.
"""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import spectrum
from tools.benchmarks.common import peers
from tools.benchmarks.common.peers import Schedule

FLEXES = ("0.75", "3")
# Attention of the blocks: what TaylorSeer takes when it is given nothing, plus Wan's, whose names its own pattern
# (which ends with "attn") misses.
_ATTENTION = r"(blocks|transformer_blocks|single_transformer_blocks)\.\d+\.attn[12]?"


@dataclass(frozen=True)
class Method:
    """One row of a table: a kind, with as many evaluations as Spectrum has at a ``flex_window``; plain has none."""

    kind: str
    flex: str = ""

    @property
    def name(self) -> str:
        """As it is given at the command line."""
        return f"{self.kind}-{self.flex}" if self.flex else self.kind

    def schedule(self, steps: int, **options: Any) -> Schedule:
        """Return its plan for so many steps; ``options`` are further ones of ``SpectrumConfig``."""
        if not self.flex:
            return Schedule(spectrum.SpectrumConfig(warmup_steps=steps), steps)
        return Schedule(spectrum.SpectrumConfig(flex_window=float(self.flex), **options), steps)

    def on(self, pipe: Any, schedule: Schedule) -> AbstractContextManager[Any]:
        """Switch the method on for a pipeline, within the context, which gives the handle of Spectrum's.

        Raises:
            NotSupported: It cannot run this pipeline. What it cannot do may also show only in the call.
        """
        return KINDS[self.kind].on(pipe, schedule)


@dataclass(frozen=True)
class Kind:
    """What a method is called in the report, how it is switched on, and how it was set up, for the notes."""

    title: str
    on: Callable[[Any, Schedule], AbstractContextManager[Any]]
    note: str


KINDS: dict[str, Kind] = {
    "plain": Kind("plain", peers.plain, "the pipeline as it is."),
    "spectrum": Kind(
        "Spectrum",
        peers.attached("features"),
        "`spectrum.attach`, warm-up 5, window 2 and the `flex_window` named, all else default.",
    ),
    "spectrum-output": Kind(
        "Spectrum, outputs",
        peers.attached("output"),
        'the same with `target="output"`: the denoiser is not called on a forecast step.',
    ),
    "taylorseer": Kind(
        "TaylorSeer",
        peers.taylorseer(cache_identifiers=[_ATTENTION]),
        "`TaylorSeerCacheConfig` of diffusers, order 1, on the attention of every block as it is by default (its "
        "default pattern finds none in Wan, so the modules are named); all else in the blocks runs on every step. "
        "`disable_cache_before_step` 5 and the `cache_interval` that gives the same number of evaluations.",
    ),
    "taylorseer-lite": Kind(
        "TaylorSeer lite",
        peers.taylorseer(use_lite_mode=True),
        "the same with `use_lite_mode`: no block runs on a forecast step, and the output of the last projection is "
        "forecast.",
    ),
    "fbcache": Kind(
        "FirstBlockCache",
        peers.first_block,
        "`FirstBlockCacheConfig` of diffusers. Random weights leave its residual without a meaning, so it measures "
        "the residual and waits for it as ever, and then follows Spectrum's plan.",
    ),
    "cache-dit": Kind(
        "cache-dit",
        peers.cache_dit,
        "`DBCacheConfig` with the first block of each stack computed on every step (`Fn_compute_blocks` 1, the least), "
        "none at the end, no calibrator, and Spectrum's plan as `steps_computation_mask`, `static`.",
    ),
}


def expand(names: list[str]) -> list[Method]:
    """Return the methods of these names, plain first; a kind without a flex stands for both.

    Raises:
        ValueError: There is no such method.
    """
    methods = [Method("plain")]
    for name in names:
        kind, flex = m.groups() if (m := re.fullmatch(r"(.+?)(?:-(0\.75|3))?", name)) else (name, None)
        if kind not in KINDS or (kind == "plain" and flex):
            raise ValueError(name)
        chosen = [Method(kind, one) for one in ([flex] if flex else FLEXES)] if kind != "plain" else []
        methods += [method for method in chosen if method not in methods]
    return methods
