"""How many ranks share a sample."""

from dataclasses import dataclass

from jobs.options.fields import option


@dataclass(frozen=True)
class Degrees:
    """How a sample is shared among ranks: ``parallel.*``; ulysses x ring x cfg ranks form a group."""

    ulysses: int = option(1, "ranks that exchange attention heads for tokens; divides the heads", least=1)
    ring: int = option(1, "ranks that pass keys and values around (GPUs only)", least=1)
    cfg: int = option(1, "2: the two branches of guidance on different ranks", least=1, most=2)

    @property
    def size(self) -> int:
        """Ranks of a group."""
        return self.cfg * self.sequence

    @property
    def sequence(self) -> int:
        """Parts that the sequence of tokens is cut into."""
        return self.ulysses * self.ring

    @property
    def shared(self) -> dict[str, int]:
        """Those above 1, by name."""
        return {name: value for name, value in vars(self).items() if value > 1}

    def __str__(self) -> str:
        return " ".join(f"parallel.{name}={value}" for name, value in self.shared.items()) or "parallel.ulysses=1"
