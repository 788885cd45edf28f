"""Where the seconds went: attempts that published, were stopped, were killed, and groups of ranks."""

import json
import os
from pathlib import Path

import pytest

from jobs.media.image import ImageFormat
from jobs.report.ledger import read_ledger, render_ledger
from jobs.run.run import Run
from jobs.store.attempt import Attempt
from jobs.store.journal import DIED, write_end
from jobs.store.writer import Writer
from tests.support import HOW, new_run, picture, write_prompts


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return new_run(tmp_path, f"prompt_file={write_prompts(tmp_path / 'p.txt', 8)}", "shard_size=4")


def begin(
    run: Run, shard: int, samples: int, *, age: float = 0.0, host: str = "", fingerprint: str = "f", **more
) -> Attempt:
    """An attempt that began ``age`` seconds ago and made some samples of two seconds each."""
    attempt = Attempt(run.directory, shard, fingerprint=fingerprint, device="H200", log="", gpu=True, **more)
    rows = [json.loads(attempt.journal.read_text())]
    rows[0]["started"] -= age
    rows[0]["host"] = host or rows[0]["host"]
    attempt.journal.write_text("".join(json.dumps(row) + "\n" for row in rows))
    attempt._log.seek(0, os.SEEK_END)
    for index in list(run.layout.shard_range(shard))[:samples]:
        attempt.append(index, ["a"], b"x" * 512, media_sha256="", seconds=2.0)
    return attempt


def publish(run: Run, attempt: Attempt, **spent: float) -> None:
    writer = Writer(run.layout, ImageFormat("png", 95), {"model": "none"}, sample_attempts=2, in_flight=9,
                    report=lambda *event: None)  # fmt: skip
    writer.start(attempt)
    for index in run.layout.shard_range(attempt.shard):
        if attempt.inherits(index):
            writer.inherit(attempt, run.layout.sample(index))
        else:
            writer.add(attempt, run.layout.sample(index), picture(index), HOW, 2.0)
    attempt.spent |= spent
    writer.finish(attempt)
    writer.close()


def test_all_that_a_shard_took_is_kept_when_its_journals_are_gone(run) -> None:
    killed = begin(run, 0, 1, age=10, host="bad", fingerprint="old libraries", loading=30.0, ranks=2)
    write_end(run.directory, [0], os.getpid(), DIED, "was killed by SIGKILL")
    publish(run, begin(run, 0, 0, host="good", loading=20.0), generating=6.0, waiting=1.0)
    assert run.directory.is_done(0) and not killed.journal.exists()
    ledger = read_ledger(run.directory)
    assert ledger.samples == 4 and ledger.gpus
    assert ledger.nodes["good"] == {"generating": 6, "loading": 20, "calibrating": 0, "waiting": 1, "lost": 0}
    bad = ledger.nodes["bad"]
    assert (bad["generating"], bad["loading"]) == (4, 60)  # of two ranks
    assert bad["lost"] == pytest.approx(2 * (10 - 2), abs=2)
    cost = sum(ledger.total.values()) / 4 * 1000
    assert ledger.seconds_a_thousand == pytest.approx(cost)
    text = render_ledger(ledger)
    assert "GPU-seconds: generating 10" in text and "node     bad: generating 4" in text
    assert f"cost     {cost / 3600:.3g} GPU-hours a thousand samples" in text


def test_what_is_still_in_the_making_counts(run) -> None:
    stopped = begin(run, 0, 2, loading=5.0)
    stopped.spent |= {"generating": 4.5, "waiting": 0.5}
    stopped.end("stopped", "its time limit is near")
    begin(run, 1, 1)
    ledger = read_ledger(run.directory)
    assert ledger.samples == 3
    total = ledger.total
    assert (total["generating"], total["loading"], total["waiting"]) == (6.5, 5.0, 0.5)


def test_before_anything_is_made_there_is_nothing_to_add_up(run) -> None:
    assert read_ledger(run.directory).seconds_a_thousand is None
    assert "nothing was made yet" in render_ledger(read_ledger(run.directory))
