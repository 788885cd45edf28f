"""What Slurm's commands print, read."""

import pytest

from jobs.execute import queue

GRES = {  # as ``sinfo --format=%G`` prints it, a line for each kind of node
    "gpu:2\n(null)\n": 2,
    "gpu:a100:8(S:0-1)\n": 8,
    "gpu:a100:4,gpu:h200:2,shard:64\n": 6,
    "(null)\n": None,
    "": None,
}


@pytest.mark.parametrize(("listing", "gpus"), GRES.items())
def test_the_gpus_of_the_largest_node(monkeypatch: pytest.MonkeyPatch, listing: str, gpus: int | None):
    monkeypatch.setattr(queue, "_ask", lambda *command: listing)
    assert queue.node_gpus(None) == gpus


@pytest.mark.parametrize(
    ("listing", "jobs"),
    [
        (
            "12_0 my run-launch-1\n12_1 my run-launch-1\n13 other\n",
            {"12_0": "my run-launch-1", "12_1": "my run-launch-1", "13": "other"},
        ),
        ("124 \n", {"124": ""}),
        ("", {}),
        (None, None),
    ],
    ids=["some", "without a name", "none", "no answer"],
)
def test_the_queue_is_read_with_the_names_of_jobs(monkeypatch, listing, jobs) -> None:
    monkeypatch.setattr(queue, "_ask", lambda *command: listing)
    assert queue.queued_jobs() == jobs
