"""What is shown while tasks are waited for."""

import contextlib
import os
import pty
import sys
import time
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

from jobs.report import live
from jobs.report.live import Display
from jobs.report.progress import Glance, Progress
from tests.support import new_run, write_prompts

NOW = Glance(shards=10, done=3, samples=100, made=42, rate=0.5)
PENDING = Counter({"Resources": 4})


def test_a_glance_in_words() -> None:
    assert str(NOW) == "3 of 10 shards, 42 of 100 samples, 0.50 samples/s, about 1 min 56 s to go"
    assert str(Glance(10, 0, 100, 0, None)) == "0 of 10 shards, 0 of 100 samples"


def test_without_a_terminal_there_is_a_line_for_a_change_and_now_and_then(monkeypatch, capsys) -> None:
    clock = [0.0]
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: clock[0], strftime=time.strftime))
    with Display() as display:
        for _ in range(100):
            display.show(NOW, 2, PENDING, 5)
            clock[0] += 10
        display.fail("task 5_1: FAILED")
        display.show(NOW, 2, Counter({"JobHeldUser": 4}), 0)
        display.show(NOW, 0, Counter({"None": 4}), 0)  # Slurm's word for tasks that it has not looked at yet
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert len(lines) == -(-100 * 10 // live.EVERY) + 2
    assert lines[0].endswith("to go; tasks: 2 running, 4 pending (Resources), 5 to be submitted")
    assert lines[-2].endswith("tasks: 2 running, 4 pending (JobHeldUser)")
    assert lines[-1].endswith("tasks: 0 running, 4 pending")
    assert told.out == "failed: task 5_1: FAILED\n"


def test_on_a_terminal_the_lines_change_in_place(monkeypatch) -> None:
    leader, follower = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", os.fdopen(follower, "w"))
    with Display() as display:
        for made in (42, 43):
            display.show(Glance(10, 3, 100, made, 0.5), 2, PENDING, 0)
        for number in range(5):
            display.fail(f"task 5_{number}")
        display.show(NOW, 1, PENDING, 0)
    sys.stderr.close()
    text = "".join(read_all(leader))
    assert "43 of 100 samples" in text and "tasks: 1 running, 4 pending (Resources)" in text
    assert "failed: task 5_4" in text and "failed: task 5_1" not in text
    assert "\x1b[" in text  # it goes back to write over itself


def read_all(leader: int) -> Iterator[str]:
    """Read a terminal's other end until nobody writes to it any more."""
    with contextlib.suppress(OSError), os.fdopen(leader, "rb", buffering=0) as file:
        while data := file.read(4096):
            yield data.decode(errors="replace")


def test_progress_counts_what_is_new(tmp_path) -> None:
    run = new_run(tmp_path, f"prompt_file={write_prompts(tmp_path / 'p.txt', 10)}", "shard_size=4")
    progress = Progress([(run, {0, 1, 2})])
    assert progress.look() == Glance(3, 0, 10, 0, None) and progress.work() == 0
    run.directory.done_record(2).write_text("{}")  # of two samples
    (run.directory.work / "00000.a.jsonl").write_text('{"attempt": 1}\n{"sample": 0, "media_sha256": ""}\n')
    (run.directory.work / "00000.b.jsonl").write_text('{"attempt": 2}\n{"failed": 0}\n')
    now = progress.look()
    assert (now.done, now.made) == (1, 3) and now.rate and progress.work() == 4
    assert progress.done() == 1
    (run.directory.work / "00002.a.jsonl").write_text('{"sample": 8, "media_sha256": ""}\n')  # of a done shard
    assert progress.look().made == 3


def test_samples_of_several_attempts_are_counted_once_and_never_lost(tmp_path) -> None:
    run = new_run(tmp_path, f"prompt_file={write_prompts(tmp_path / 'p.txt', 10)}", "shard_size=5")
    one, two = (run.directory.work / f"00000.{name}.jsonl" for name in "ab")
    made = '{{"sample": {}, "media_sha256": ""}}\n'.format
    one.write_text('{"attempt": 1}\n' + made(0) + made(1) + '{"sample": 2, "med')  # it is writing, or died
    progress = Progress([(run, {0, 1})])
    assert progress.look().made == 2
    two.write_text('{"attempt": 2}\n' + made(1) + made(3))
    assert progress.look().made == 3
    with open(two, "a") as file:
        file.write(made(4) + '{"failed": 2}\n')
    assert progress.look().made == 4 and progress.work() == 5
    with open(one, "a") as file:
        file.write('ia_sha256": ""}\n')
    assert progress.look().made == 5
    two.unlink()
    assert progress.look().made == 5 and progress.work() == 6  # not backwards


def test_of_a_journal_only_what_is_new_is_read(tmp_path, monkeypatch) -> None:
    run = new_run(tmp_path, f"prompt_file={write_prompts(tmp_path / 'p.txt', 4)}", "shard_size=4")
    journal = run.directory.work / "00000.a.jsonl"
    journal.write_text('{"attempt": 1}\n')
    progress = Progress([(run, {0})])
    reads: list[int] = []
    monkeypatch.setattr(
        Progress, "_read_on", lambda self, path, on=Progress._read_on: reads.append(1) or on(self, path)
    )
    for looks in range(1, 5):
        with open(journal, "a") as file:
            file.write(f'{{"sample": {looks - 1}}}\n')
        assert [progress.look().made for _ in range(3)] == [looks] * 3
        assert len(reads) == looks and progress._read[journal].offset == journal.stat().st_size


def test_why_tasks_are_not_submitted_is_told() -> None:
    assert live.standing(1, Counter(), 4, "5 jobs may be in the queue").endswith(
        "4 to be submitted (5 jobs may be in the queue)"
    )
