"""What the cost model says: of the ranks that were measured, and of clips at their real size on GPUs. Pure numbers."""

from dataclasses import dataclass
from typing import Any

from jobs.options.degrees import Degrees
from spectrum import SpectrumConfig
from tools.benchmarks.parallel.cost import Line, Message, Rates, Step, calibrated, fit_line

STEPS = 50  # of a clip
EVALUATED = len(SpectrumConfig().evaluated_steps(STEPS))


def step_of(counted: dict[str, Any]) -> Step:
    """Return a step that the files of results hold."""
    messages = (Message(**{**one, "ranks": tuple(one["ranks"])}) for one in counted["messages"])
    return Step(**{**counted, "messages": tuple(messages)})


@dataclass(frozen=True)
class Checked:
    """A step that was measured, beside what the model says of it.

    Attributes:
        measured, predicted: Seconds; the second None where the first gave the model its rates.
        measured_share, predicted_share: What part collectives are.
        slowdown: How many times longer the ranks' arithmetic takes than one rank's.
        step: What a rank does in it, as counted.
        counted_right: Whether the ranks made the very collectives that were counted.
    """

    measured: float
    predicted: float | None
    measured_share: float
    predicted_share: float
    slowdown: float
    step: Step
    counted_right: bool


def check(results: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Checked]]]:
    """Return every run with its evaluated and its forecast step, predicted from one rank's steps and microbenchmarks.

    Args:
        results: Results of a machine; those of one rank must be among them.
    """
    alone = results["worlds"]["1"]
    first = {run["model"]: run for run in alone["runs"]}
    ahead = results["conditions"]["device"] == "cuda"
    rows = []
    for world in results["worlds"].values():
        micro = world["micro"]
        for run in world["runs"]:
            one = first[run["model"]]
            base = [(step_of(one["counted"][kind]), one[kind]["seconds"]) for kind in ("evaluated", "forecast")]
            basic = calibrated(*base[0], *base[1], _copy_rate(alone["micro"]), ahead)
            rates = Rates(
                basic.flops,
                _copy_rate(micro),
                basic.launch,
                {kind: fit_line(*zip(*micro[kind], strict=True)) for kind in ("exchange", "gather") if micro[kind]},
                slowdown=run["reference_seconds"] / one["reference_seconds"],
                ahead=ahead,
            )
            rows.append((run, {kind: _checked(run, kind, rates, run is one) for kind in ("evaluated", "forecast")}))
    return rows


def _copy_rate(micro: dict[str, Any]) -> float:
    ((moved, seconds),) = micro["copy"]
    return moved / seconds


def _checked(run: dict[str, Any], kind: str, rates: Rates, is_base: bool) -> Checked:
    step, measured = step_of(run["counted"][kind]), run[kind]
    counted = sorted(step.messages, key=str)
    made = sorted(step_of({"flops": 0, "messages": measured["messages"]}).messages, key=str)
    return Checked(
        measured["seconds"],
        None if is_base else rates.seconds(step),
        measured["collective_share"],
        rates.share(step),
        rates.slowdown,
        step,
        counted == made,
    )


@dataclass(frozen=True)
class Assumptions:
    """A GPU and its links, not measured but assumed.

    Attributes:
        tflops: Sustained in an evaluated step, in 1e12 FLOP/s.
        memory: GB/s.
        launch: Microseconds to launch an operation.
        link: GB/s that a GPU sends to others of its node.
        network: GB/s that a GPU sends to other nodes.
        latency: Microseconds of a collective.
        node: GPUs in a node.
    """

    tflops: float = 400.0
    memory: float = 3300.0
    launch: float = 8.0
    link: float = 300.0
    network: float = 40.0
    latency: float = 30.0
    node: int = 8

    def rates(self, node: int | None = None) -> Rates:
        """Return the rates of such a GPU, in nodes of this size or of another."""
        line = Line(self.latency * 1e-6, self.link * 1e9)
        return Rates(
            self.tflops * 1e12,
            self.memory * 1e9,
            self.launch * 1e-6,
            {"exchange": line, "gather": line},
            network=self.network * 1e9,
            node=node or self.node,
            ahead=True,
        )


@dataclass(frozen=True)
class Clip:
    """A clip at given degrees, by the model; seconds.

    Attributes:
        evaluated, forecast: Time of a step.
        evaluated_share, forecast_share: What part of it collectives are.
        plain: All steps, every one evaluated.
        spectrum: All steps with Spectrum's default schedule.
        apart: The same on two nodes of half as many GPUs; None for one GPU.
    """

    evaluated: float
    forecast: float
    evaluated_share: float
    forecast_share: float
    plain: float
    spectrum: float
    apart: float | None


def clip(counted: dict[str, Any], assumed: Assumptions) -> Clip:
    """Return what a counted clip takes under the assumptions: denoising without text encoder and autoencoder."""
    steps = {kind: step_of(counted[kind]) for kind in ("evaluated", "forecast")}
    ranks = Degrees(**counted["degrees"]).size
    here = assumed.rates()
    apart = assumed.rates(ranks // 2) if ranks > 1 else None
    return Clip(
        here.seconds(steps["evaluated"]),
        here.seconds(steps["forecast"]),
        here.share(steps["evaluated"]),
        here.share(steps["forecast"]),
        STEPS * here.seconds(steps["evaluated"]),
        _with_spectrum(steps, here),
        _with_spectrum(steps, apart) if apart else None,
    )


def _with_spectrum(steps: dict[str, Step], rates: Rates) -> float:
    return EVALUATED * rates.seconds(steps["evaluated"]) + (STEPS - EVALUATED) * rates.seconds(steps["forecast"])
