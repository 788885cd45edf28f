"""What status says of runs in every state, from their files alone."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.base.times import SILENT
from jobs.logs import logs_of, no_logs
from jobs.report.status import duration, read_status, render
from jobs.run.run import Run
from jobs.store.attempt import Attempt
from jobs.store.publish import clear_leftovers
from tests.support import new_run, write_prompts


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return new_run(tmp_path, f"prompt_file={write_prompts(tmp_path / 'p.txt', 20)}", "shard_size=4")


def begin(run: Run, shard: int, samples: int) -> Attempt:
    attempt = Attempt(run.directory, shard, fingerprint="f", device="cpu", log=f"logs/{shard}.log")
    for index in list(run.layout.shard_range(shard))[:samples]:
        attempt.append(index, ["a"], b"x" * 512, media_sha256="", seconds=1.0)
    return attempt


def record_done(run: Run, shard: int, age: float) -> None:
    run.directory.tar(shard).touch()
    record = {"samples": 4, "failed": [], "reasons": {}, "flagged": 0, "finished": time.time() - age}
    run.directory.done_record(shard).write_text(json.dumps(record))


def test_a_new_run_is_all_left(run) -> None:
    status = read_status(run.directory)
    assert (status.done, status.running, status.failed, status.left) == (0, 0, 0, 5)
    assert status.samples_per_second == 0 and status.eta_seconds is None


def test_a_run_in_the_making_has_speed_and_eta(run) -> None:
    record = json.loads((run.directory.path / "run.json").read_text())
    record["created"] -= 100
    (run.directory.path / "run.json").write_text(json.dumps(record))
    record_done(run, 0, 50)
    begin(run, 1, 2)
    begin(run, 2, 2).end("failed", "2 samples failed")
    status = read_status(run.directory)
    assert (status.done, status.running, status.failed, status.left) == (1, 1, 1, 2)
    assert status.samples_done == 8
    assert status.samples_per_second == pytest.approx(8 / 100, rel=0.05)
    assert status.eta_seconds == pytest.approx(12 / 0.08, rel=0.05)
    text = render("run", status)
    assert "shard 00002: 2 samples failed [logs/2.log]" in text and "to go" in text


def test_a_reason_of_many_lines_takes_one_and_json_has_all_of_it(run) -> None:
    reason = "RuntimeError: shapes differ:\n  a (1, 2)\n\n  b (2, 1)\n" + "at a layer\n" * 500
    begin(run, 1, 2).end("error", reason)
    status = replace(read_status(run.directory), samples_failed=1, reasons={reason: 1})
    text = render("", status)
    given_up, failed = [line for line in text.splitlines() if "RuntimeError" in line]
    beginning = "RuntimeError: shapes differ: a (1, 2) b (2, 1) at a layer at"
    assert beginning in given_up and beginning in failed and len(given_up) < 450
    assert "layer" not in text.replace(given_up, "").replace(failed, "")
    assert status.failures[0]["reason"] == reason


def test_two_processes_at_a_shard_are_told_from_two_attempts_of_one(run) -> None:
    begin(run, 0, 1).joined()  # of this very process
    begin(run, 1, 1)
    second = begin(run, 1, 2)
    assert read_status(run.directory).twins == 0
    rows = second.journal.read_text().splitlines()
    header = json.loads(rows[0])
    header["process"]["host"] = "a node that was given up"
    second.journal.write_text("\n".join([json.dumps(header), *rows[1:], ""]))
    status = read_status(run.directory)
    assert (status.running, status.twins, status.samples_done) == (2, 1, 3)
    assert "1 of those running are made twice at once" in render("run", status)


def test_a_stopped_shard_is_left_and_not_failed(run) -> None:
    begin(run, 1, 2).end("stopped", "its time limit is near")
    status = read_status(run.directory)
    assert (status.running, status.failed, status.left) == (0, 0, 5)
    assert status.stopped == {1: "its time limit is near"}
    assert "1 of those left go on where they are: 1 its time limit is near" in render("run", status)


def test_a_killed_process_is_told_from_a_living_one(run) -> None:
    code = (
        "import time\n"
        "from pathlib import Path\nfrom jobs.store.attempt import Attempt\nfrom jobs.store.rundir import RunDir\n"
        f"run = RunDir(Path({str(run.directory.path)!r}))\n"
        "attempt = Attempt(run, 3, fingerprint='f', device='cpu', log='its.log')\n"
        "print('begun', flush=True); time.sleep(100)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "begun\n"
        assert read_status(run.directory).running == 1
        process.send_signal(signal.SIGKILL)
    status = read_status(run.directory)
    assert (status.running, status.failed) == (0, 1)
    assert "without a message" in status.failures[0]["reason"] and status.failures[0]["log"] == "its.log"


def test_on_another_machine_the_heartbeat_decides(run) -> None:
    attempt = begin(run, 0, 1)
    rows = attempt.journal.read_text().splitlines()
    header = json.loads(rows[0])
    header["process"]["host"] = "elsewhere"
    attempt.journal.write_text("\n".join([json.dumps(header), *rows[1:], ""]))
    assert read_status(run.directory).running == 1
    long_ago = time.time() - SILENT - 1
    os.utime(attempt.journal, (long_ago, long_ago))
    assert read_status(run.directory).running == 0


@pytest.mark.parametrize(("seconds", "text"), [(9.6, "10 s"), (90, "1 min 30 s"), (3600 * 30 + 61, "30 h 1 min")])
def test_durations(seconds, text) -> None:
    assert duration(seconds) == text


def test_the_logs_of_what_failed_last_are_shown_first(run, tmp_path: Path) -> None:
    for shard, age in enumerate((30, 10, 20, 40)):
        log = tmp_path / f"{shard}.log"
        log.touch()
        os.utime(log, (time.time() - age,) * 2)
        run.directory.record_task_failure([shard], f"reason {shard}", str(log))
    run.directory.record_task_failure([4], "reason 4", "missing.log")
    assert [log.name for log in logs_of(run.directory, None)] == ["1.log", "2.log", "0.log"]
    assert logs_of(run.directory, 3) == {tmp_path / "3.log": "shard 00003: reason 3"}


def test_where_no_log_tells_more_it_is_said_who_does(run) -> None:
    assert (no_logs(run.directory, None), no_logs(run.directory, 0)) == (
        "nothing has failed",
        "nobody has been at this shard",
    )
    record_done(run, 0, 1)
    done = json.loads(run.directory.done_record(0).read_text())
    run.directory.done_record(0).write_text(json.dumps({**done, "samples": 3, "failed": [1], "reasons": {"flat": 1}}))
    pq.write_table(pa.table({"status": ["failed"], "key": ["1"], "reason": ["flat"]}), run.directory.sidecar(0))
    path = run.directory.path
    assert logs_of(run.directory, None) == {}
    assert no_logs(run.directory, None) == (
        f"nothing is failing; why 1 samples were given up is told by python -m jobs.status {path}"
    )
    assert no_logs(run.directory, 0) == f"shard 0 is done; the logs of this machine's processes lie in {path}/logs"


def test_a_task_that_failed_before_its_first_attempt_is_named(run) -> None:
    run.directory.record_task_failure([3, 4], "OSError: no such weights", "task.log")
    status = read_status(run.directory)
    assert (status.failed, status.left) == (2, 3)
    assert "shard 00003: OSError: no such weights [task.log]" in render("run", status)
    for shard in (3, 4):
        record_done(run, shard, 1)
    clear_leftovers(run.directory)
    assert not list(run.directory.work.glob("task-*"))
