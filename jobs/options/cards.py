"""GPUs by name: what the option ``card``, Slurm and data sheets call them."""

import re
from dataclasses import dataclass
from math import nan

from jobs.base.errors import BadInput

RESERVE = 0.08  # of a card's memory, for the driver, the allocator's gaps and kernels' workspaces: assumed
OF_A_SLICE = 0.95  # GiB a slice has at least for each GB in its name: of 1g.5gb the driver lists 4.75


@dataclass(frozen=True)
class Card:
    """A GPU by its data sheet: memory in GiB, dense bfloat16 in TFLOP/s, bandwidth in TB/s; nan: not known."""

    name: str
    memory: float
    tflops: float = nan
    bandwidth: float = nan

    @property
    def usable(self) -> int:
        """Bytes that a model may fill."""
        return int(self.memory * (1 - RESERVE) * 2**30)


CARDS = (
    Card("RTX 4090 24 GB", 24.0, 165, 1.01),
    Card("A100 40 GB", 39.4, 312, 1.56),
    Card("L40S 48 GB", 45.0, 362, 0.86),
    Card("A100 80 GB", 79.3, 312, 2.04),
    Card("H100 80 GB", 79.6, 989, 3.35),
    Card("H200 141 GB", 140.4, 989, 4.8),
    Card("B200 180 GB", 179.0, 2250, 8.0),
)


def check_card(asked: str) -> Card:
    """Return the card that the option ``card`` means.

    Raises:
        BadInput: it means none.
    """
    card = card_named(asked)
    if card is None:
        raise BadInput(
            f"card={asked} is not known: it must be one of {', '.join(card.name for card in CARDS)}, or a memory such "
            "as 24GB"
        )
    return card


def card_named(text: str) -> Card | None:
    """Return the card that a text means, such as ``gpu:a100-80gb:4`` or ``24GB``; None where it means none.

    Where there are several of a name, such as A100, and nothing says which, it is the one with least memory. A slice of
    one (MIG), such as ``a100_1g.5gb``, is a card of its own memory; one of unknown size is none.
    """
    if slices := re.findall(r"(\d+g[._-]?(\d+)gb)", text.lower()):
        name, memory = min(slices, key=lambda one: int(one[1]))
        return Card(f"MIG slice {name}", int(memory) * OF_A_SLICE)
    if re.search(r"(?<![a-z])mig(?![a-z])", text, re.IGNORECASE):
        return None
    if alone := re.fullmatch(r"(\d+(?:\.\d+)?) ?gb", text.strip(), re.IGNORECASE):
        return Card(f"GPU of {alone[1]} GB", float(alone[1]))
    found, numbers = list[Card](), re.split(r"\D+", text)
    for card in CARDS:
        *words, memory, _ = card.name.split()
        if re.search(rf"(?<![a-z0-9]){r'[ _-]*'.join(words)}(?![0-9])", text, re.IGNORECASE):
            found.insert(0 if memory in numbers else len(found), card)
    return found[0] if found else None
