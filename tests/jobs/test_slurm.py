"""What Slurm's commands print, read."""

import pytest

from jobs import slurm

GRES = {  # as ``sinfo --format=%G`` prints it, a line for each kind of node
    "gpu:2\n(null)\n": 2,
    "gpu:a100:8(S:0-1)\n": 8,
    "gpu:a100:4,gpu:h200:2,shard:64\n": 6,
    "(null)\n": None,
    "": None,
}


@pytest.mark.parametrize(("listing", "gpus"), GRES.items())
def test_the_gpus_of_the_largest_node(monkeypatch: pytest.MonkeyPatch, listing: str, gpus: int | None):
    monkeypatch.setattr(slurm, "_ask", lambda *command: listing)
    assert slurm.node_gpus(None) == gpus
