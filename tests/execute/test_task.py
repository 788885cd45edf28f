"""How a task ends: real processes and signals, with a stand-in for the model (tests/execute/deadly.py)."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.store.journal import journals
from jobs.store.rundir import RunDir
from tests import warm
from tests.support import small_disk, tar_hashes

GOOD = "a red circle on a white background"


def task(folder: Path, prompts: list[str], *options: str, **environment: str) -> subprocess.Popen[str]:
    """Start a task for a run in that folder."""
    file = folder / "prompts.txt"
    file.write_text("\n".join(prompts))
    words = [sys.executable, "-m", "tests.execute.deadly", f"prompt_file={file}", f"output_base_path={folder}"]
    return warm.Popen(
        [*words, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "JOBS_PATIENCE": "0.5", **environment},
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit code and what was said."""
    try:
        output, _ = process.communicate(timeout=90)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode, output


def wait_until(process: subprocess.Popen[str], condition) -> None:
    deadline = time.monotonic() + 80
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, finish(process)[1]
        time.sleep(0.02)


@pytest.mark.slow
def test_a_deadly_prompt_is_found_and_given_up_alone(tmp_path: Path) -> None:
    """Healthy shards first; then its batch, then each of its samples alone, until it is known which one kills."""
    prompts = [GOOD] * 12
    prompts[1] = "die"
    code, said = finish(task(tmp_path, prompts))
    run = RunDir(tmp_path / "run")
    assert run.done_shards() == {0, 1, 2}, said
    assert code == 1  # not everything that was asked for is there
    rows = pq.read_table(run.sidecar(0)).to_pylist()
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "ok"]
    assert "its process died 2 times of it: was killed by SIGSEGV" in rows[1]["reason"]
    records = [json.loads(run.done_record(shard).read_text()) for shard in range(3)]
    assert records[0]["failed"] == [1]
    assert records[0]["finished"] > max(record["finished"] for record in records[1:])

    # The same bytes as where nothing died: a prompt that fails leaves the others of its batch to calls of their own.
    (tmp_path / "other").mkdir()
    other = task(tmp_path / "other", prompts, "max_attempts=9")
    assert finish(other)[0] == 1
    assert tar_hashes(run.path) == tar_hashes(tmp_path / "other" / "run")


@pytest.mark.slow
def test_a_broken_accelerator_ends_the_task_and_blames_nobody(tmp_path: Path) -> None:
    code, said = finish(task(tmp_path, [*["break"] * 4, GOOD, GOOD]))
    run = RunDir(tmp_path / "run")
    assert code == 1 and "the accelerator failed" in said
    assert run.done_shards() == set()
    (journal,) = journals(run)
    assert not journal.died and not journal.failed


PROMPTS = ["wait", GOOD, GOOD, GOOD]


def stopped_in_its_first_batch(folder: Path, number: int) -> subprocess.Popen[str]:
    """Start a task of one shard of two batches and send it a signal while it makes the first."""
    process = task(folder, PROMPTS)
    run = RunDir(folder / "run")
    wait_until(process, lambda: any(journal.trying == [0, 1] for journal in journals(run)))
    os.killpg(process.pid, number)  # as Slurm does: every process of the task gets it
    wait_until(process, lambda: any("in hand" in path.read_text() for path in run.logs.glob("*-task.log")))
    return process


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_lets_the_batch_in_hand_end(tmp_path: Path, number) -> None:
    process = stopped_in_its_first_batch(tmp_path, number)
    (tmp_path / "wait").touch()
    code, said = finish(process)
    assert code == 1 and "not queued again: no cluster can queue it again; the same command goes on" in said
    run = RunDir(tmp_path / "run")
    (journal,) = journals(run)
    assert journal.ended and journal.ended["ended"] == "stopped"
    assert [row["sample"] for row in journal.samples] == [0, 1] and not journal.failed
    assert finish(task(tmp_path, PROMPTS))[0] == 0
    first = journal.header["attempt"]
    attempts = [row["attempt"] for row in pq.read_table(run.sidecar(0)).to_pylist()]
    assert attempts[:2] == [first, first] and first not in attempts[2:]


@pytest.mark.slow
def test_what_does_not_end_in_time_is_cut_off_and_blames_nobody(tmp_path: Path) -> None:
    code, said = finish(stopped_in_its_first_batch(tmp_path, signal.SIGTERM))
    assert code == 1 and "the same command goes on" in said
    (journal,) = journals(RunDir(tmp_path / "run"))
    assert journal.trying == [0, 1] and not journal.died
    assert journal.ended and journal.ended["ended"] == "stopped"


@pytest.mark.slow
def test_a_disk_that_fills_up_is_said_in_a_sentence_and_costs_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=100k") as disk:
        code, said = finish(task(disk, [GOOD] * 24))
        assert code == 1
        assert f"the file system of {disk}/run is full; once that is mended, the same command goes on" in said
        assert any(journal.samples for journal in journals(RunDir(disk / "run")))
        assert not any(journal.died for journal in journals(RunDir(disk / "run")))
        subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
        assert finish(task(disk, [GOOD] * 24))[0] == 0
        assert len(tar_hashes(disk / "run")) == 6
