"""The cost model: what one rank does in a denoising step, and how long that takes at given rates. Pure numbers.

Arithmetic, memory and each collective follow one another in it, as the ranks wait for every collective at once.
Arithmetic and memory traffic of an evaluated step are one rate, the sustained FLOP/s, which is what a whole step of one
rank gives; a forecast step has next to no arithmetic, so its memory traffic and the launching of its operations count
by themselves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Message:
    """A collective as rank 0 sees it.

    Attributes:
        kind: "exchange" (all to all) or "gather".
        peer_bytes: What it sends to each of the others.
        ranks: Who takes part, rank 0 among them.
        count: How many such collectives.
    """

    kind: str
    peer_bytes: int
    ranks: tuple[int, ...]
    count: int = 1

    @property
    def sent(self) -> int:
        """Bytes that a rank sends in all of them."""
        return self.count * self.peer_bytes * (len(self.ranks) - 1)


@dataclass(frozen=True)
class Step:
    """What rank 0 does in one denoising step: all of its denoiser calls, and the exchange of guidance's branches.

    Attributes:
        flops: Floating-point operations, two for a multiplication and addition.
        traffic: Bytes that its operations read and write; 0 where the sustained FLOP/s include them.
        ops: Operations that are launched; 0 likewise.
        messages: The collectives.
    """

    flops: float
    traffic: float = 0.0
    ops: int = 0
    messages: tuple[Message, ...] = ()

    @property
    def sent(self) -> int:
        """Bytes that a rank sends."""
        return sum(message.sent for message in self.messages)

    @property
    def collectives(self) -> int:
        """How many collectives it makes."""
        return sum(message.count for message in self.messages)


@dataclass(frozen=True)
class Line:
    """Time of a collective: latency in seconds, and bytes a second that a rank sends."""

    latency: float
    bandwidth: float


@dataclass(frozen=True)
class Rates:
    """How fast a rank is.

    Attributes:
        flops: Sustained, a second.
        memory: Bytes a second, while all ranks use it.
        launch: Seconds for each operation.
        lines: Time of each kind of message within a node.
        network: Bytes a second that a rank sends to other nodes.
        node: Ranks in a node, in order.
        slowdown: How many times longer arithmetic and launches take because ranks compute at once: above 1 where they
            share cores.
        ahead: Whether operations are launched while earlier ones run (a GPU), or run as they are launched (a CPU).
    """

    flops: float
    memory: float
    launch: float
    lines: dict[str, Line] = field(default_factory=dict)
    network: float = math.inf
    node: int = 2**31
    slowdown: float = 1.0
    ahead: bool = False

    def compute_seconds(self, step: Step) -> float:
        """Return the seconds of a step without its messages."""
        work = self.slowdown * step.flops / self.flops + step.traffic / self.memory
        launching = self.slowdown * step.ops * self.launch
        return max(work, launching) if self.ahead else work + launching

    def message_seconds(self, step: Step) -> float:
        """Return the seconds of a step's messages."""
        return sum(map(self._message_seconds, step.messages))

    def seconds(self, step: Step) -> float:
        """Return the seconds of a step."""
        return self.compute_seconds(step) + self.message_seconds(step)

    def share(self, step: Step) -> float:
        """Return what part of a step its messages are."""
        return self.message_seconds(step) / self.seconds(step)

    def _message_seconds(self, message: Message) -> float:
        line = self.lines[message.kind]
        near = sum(rank // self.node == message.ranks[0] // self.node for rank in message.ranks) - 1
        far = len(message.ranks) - 1 - near
        within, between = near * message.peer_bytes / line.bandwidth, far * message.peer_bytes / self.network
        return message.count * (line.latency + max(within, between))


def fit_line(sizes: Sequence[float], seconds: Sequence[float]) -> Line:
    """Return the line through measured times with the least squares of relative errors: small messages count too.

    Args:
        sizes: Bytes that a rank sends, at least two different.
        seconds: How long that took, above 0.
    """
    ones, slopes = [1 / t for t in seconds], [size / t for size, t in zip(sizes, seconds, strict=True)]
    a, b, c = (
        sum(x * y for x, y in zip(u, v, strict=True)) for u, v in ((ones, ones), (ones, slopes), (slopes, slopes))
    )
    p, q = sum(ones), sum(slopes)
    slope = (a * q - b * p) / (a * c - b * b)
    latency = (p - b * slope) / a
    if latency < 0:  # a line through zero is the nearest that means something
        latency, slope = 0.0, q / c
    return Line(latency, 1 / slope)


def calibrated(
    evaluated: Step, evaluated_seconds: float, forecast: Step, forecast_seconds: float, memory: float, ahead: bool
) -> Rates:
    """Return the rates of a rank from what one rank alone measured.

    Args:
        evaluated: Evaluated step; with its time it gives the sustained FLOP/s.
        evaluated_seconds: Its time.
        forecast: Forecast step; what its arithmetic and memory traffic leave of its time is that of launches.
        forecast_seconds: Its time.
        memory: Rate of a plain copy, bytes a second.
        ahead: As in ``Rates``.
    """
    flops = evaluated.flops / evaluated_seconds
    work = forecast.flops / flops + forecast.traffic / memory
    launching = forecast_seconds if ahead and forecast_seconds > work else max(0.0, forecast_seconds - work)
    return Rates(flops, memory, launching / forecast.ops, ahead=ahead)
