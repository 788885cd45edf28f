"""The command as it is started: worker processes, their deaths, and the same again."""

import os
import signal
import time

from jobs.options.score import parse_score
from jobs.score.command import score
from jobs.store.rundir import RunDir
from jobs.store.scores import score_dirs
from tests import warm
from tests.score.scored import rows, scorings, work
from tests.support import command


def test_a_command_scores_every_sample_that_has_a_file_and_leaves_the_run_alone(run) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and "work" not in path.parts}
    done = warm.run(command(str(run), "device=cpu", "ngpu=2", module="jobs.score"), env=dict(os.environ), timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.read_bytes() for path in before} == before
    table = rows(run, "basic")
    assert [row["sample_index"] for row in table] == [0, 1, 2, *range(4, 12)]
    assert all(row["status"] == "ok" and row["sharpness"] > 0 and len(row["phash"]) == 16 for row in table)
    assert [row["near_duplicate_of"] for row in rows(run, "near_duplicates")] == [None] * 11
    assert [one.scorer for one in score_dirs(RunDir(run))] == ["basic", "near_duplicates"]
    assert not list((run / "scores/basic/work").glob("0*"))
    # the same again has nothing to do
    stamps = {path: path.stat().st_mtime_ns for path in (run / "scores").rglob("*.parquet")}
    assert score(run, parse_score([])[1], ["device=cpu"], launch=False) == 0
    assert {path: path.stat().st_mtime_ns for path in (run / "scores").rglob("*.parquet")} == stamps


def test_status_tells_of_a_scoring_as_of_a_run(run) -> None:
    (scoring,) = scorings(run, "scorers=basic")
    work(scoring)
    done = warm.run(command(str(run / "scores/basic"), module="jobs.status"), env=dict(os.environ), timeout=120)
    assert done.returncode == 0 and "11 of 12 samples, 3 of 3 shards done" in done.stdout


DEADLY = """
import os, signal, pathlib

def deadly(media, rows):
    if any(row["sample_index"] == 6 for row in rows):
        os.kill(os.getpid(), signal.SIGSEGV)
    return {"alive": [True] * len(rows)}
"""


def test_a_sample_that_processes_die_of_is_given_up_and_the_others_are_scored(run, own) -> None:
    (own / "mine.py").write_text(DEADLY)
    words = command(str(run), "scorers=[mine:deadly]", "device=cpu", "batch_size=1", module="jobs.score")
    ended = warm.run(words, env=dict(os.environ), timeout=240)
    assert "killed by SIGSEGV" in ended.stdout
    assert warm.run(words, env=dict(os.environ), timeout=240).returncode == 0
    table = {row["sample_index"]: row for row in rows(run, "mine:deadly")}
    assert {index for index, row in table.items() if row["alive"] is None} == {6}
    assert "its process died" in table[6]["reason"]


WANDERING = """
import os, tempfile

os.chdir(tempfile.gettempdir())

def wandering(media, rows):
    os.chdir("/")
    return {"here": [1] * len(rows)}
"""


def test_a_function_that_changes_the_working_directory_leads_nobody_astray(run, own) -> None:
    (own / "mine.py").write_text(WANDERING)
    place = os.path.relpath(run, own)
    words = command(place, "scorers=[mine:wandering]", "device=cpu", "batch_size=2", module="jobs.score")
    ended = warm.run(words, env=dict(os.environ), timeout=240)
    assert ended.returncode == 0, ended.stderr
    assert {row["here"] for row in rows(run, "mine:wandering")} == {1}


SLOW = """
import pathlib, time

def slow(media, rows):
    with open("calls", "a") as file:
        file.write("".join(f"{row['sample_index']}\\n" for row in rows))
    while pathlib.Path("wait").exists() and rows[0]["sample_index"] == 6:
        time.sleep(0.02)
    return {"slow": media.mean((1, 2, 3))}
"""


def test_a_killed_command_goes_on_and_scores_nothing_twice(run, own) -> None:
    (own / "mine.py").write_text(SLOW)
    (own / "wait").touch()
    words = command(str(run), "scorers=[mine:slow]", "device=cpu", "batch_size=1", module="jobs.score")
    process = warm.Popen(words, env=dict(os.environ))
    while not (own / "calls").exists() or "6" not in (own / "calls").read_text().split():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (own / "wait").unlink()
    assert warm.run(words, env=dict(os.environ), timeout=240).returncode == 0
    calls = (own / "calls").read_text().split()
    assert {*calls} == {str(row["sample_index"]) for row in rows(run, "mine:slow")}
    assert {call for call in calls if calls.count(call) > 1} == {"6"}
    (own / "calls").unlink()
