"""Real processes with the real embedded model, killed with real signals, must end in the bytes of an unharmed run."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from jobs.run.run import Run
from jobs.store import atomic
from jobs.store.journal import journals
from jobs.store.publish import clear_leftovers
from tests import warm
from tests.decoding import Held
from tests.support import SMALL as _SMALL
from tests.support import command, new_run, tar_hashes, write_prompts
from tests.warm.forks import start

KILLS = 40
SHARDS = 4
SMALL = ("num_inference_steps=3", *_SMALL[1:])  # what is killed is the writing


def work_all(run: Run, die_at: int | None = None) -> None:
    """One attempt at everything that is unfinished; ``die_at``: kill itself at that call to the disk."""
    from jobs.execute import worker
    from tests.execute.warm import PIPELINE

    if die_at is not None:
        _die_at(die_at)
    worker.load = lambda run, device, group: PIPELINE  # type: ignore[assignment]  # loaded before the fork
    worker.generate_shards(run, run.unfinished(), device="cpu", log_path="", report=lambda *event: None)


def _die_at(count: int) -> None:
    """Kill this process just before or just after its n-th fsync, rename, link or removal."""
    calls = 0

    def deadly(function):
        def call(*arguments, **keywords):
            nonlocal calls
            calls += 1
            if calls == count:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **keywords)
            calls += 1
            if calls == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    atomic.os = type("os", (), {**vars(os), "fsync": deadly(os.fsync), "replace": deadly(os.replace)})  # type: ignore
    Path.unlink = deadly(Path.unlink)  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prompts(tmp_path_factory.mktemp("prompts") / "prompts.txt", 3 * SHARDS)


@pytest.fixture(scope="module")
def reference(prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    run = new_run(tmp_path_factory.mktemp("reference"), f"prompt_file={prompts}", *SMALL)
    process = start(work_all, run)
    process.join()
    assert process.exitcode == 0
    return tar_hashes(run.directory.path)


def finish(run: Run) -> None:
    process = start(work_all, run)
    process.join()
    assert process.exitcode == 0
    assert run.unfinished() == []
    clear_leftovers(run.directory)


@pytest.mark.timeout(900)
def test_random_kills_end_in_the_same_bytes(prompts, reference, tmp_path) -> None:
    dice = random.Random(7)
    kills, rounds, landed = 0, 0, 0
    while kills < KILLS:
        run = new_run(tmp_path / f"round{rounds}", f"prompt_file={prompts}", *SMALL)
        rounds += 1
        while run.unfinished() and kills < KILLS:
            before = len(list(run.directory.work.glob("*.jsonl")))
            process = start(work_all, run)
            if dice.random() < 0.75:  # the others hit whatever it is at by then, however slow the machine
                while process.is_alive() and len(list(run.directory.work.glob("*.jsonl"))) == before:
                    process.join(0.01)
            process.join(dice.uniform(0.0, 1.2))
            if process.exitcode is None:
                mid_shard = any(run.directory.work.glob("*.jsonl"))
                assert process.pid
                os.kill(process.pid, signal.SIGKILL)
                process.join()
                kills, landed = kills + 1, landed + mid_shard
            else:
                assert process.exitcode == 0
        if run.unfinished():
            finish(run)
        clear_leftovers(run.directory)  # as a command does at its end: the last kill may have come after all was done
        assert tar_hashes(run.directory.path) == reference
        assert not list(run.directory.work.glob("0*"))
    assert landed >= KILLS // 4, "too few kills hit a shard in the making to prove anything"


@pytest.mark.timeout(900)
def test_a_kill_at_every_step_of_publishing_ends_in_the_same_bytes(prompts, reference, tmp_path) -> None:
    step, died = 0, 0
    while True:
        step += 1
        run = new_run(tmp_path / f"step{step}", f"prompt_file={prompts}", *SMALL, "total_prompt_num=3")
        process = start(work_all, run, step)
        process.join()
        if process.exitcode == 0:
            break  # the shard was published in fewer calls than this
        assert process.exitcode == -signal.SIGKILL
        died += 1
        finish(run)
        assert tar_hashes(run.directory.path)["00000.tar"] == reference["00000.tar"]
        assert not list(run.directory.work.glob("0*"))
    assert died >= 10


def work_until_two_overlap(run: Run) -> None:
    """Die while one batch is decoded and the next one denoises."""
    from tests.execute.warm import PIPELINE

    with Held(PIPELINE, last=1, when_held=lambda number: os.kill(os.getpid(), signal.SIGKILL)):
        work_all(run)


def test_a_kill_while_batches_overlap_names_both_and_ends_in_the_same_bytes(prompts, reference, tmp_path) -> None:
    run = new_run(tmp_path, f"prompt_file={prompts}", *SMALL)
    process = start(work_until_two_overlap, run)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (journal,) = journals(run.directory)
    assert journal.trying == [0, 1, 2]
    finish(run)
    assert tar_hashes(run.directory.path) == reference


def test_two_attempts_at_once_end_in_the_same_bytes(prompts, reference, tmp_path) -> None:
    run = new_run(tmp_path, f"prompt_file={prompts}", *SMALL)
    both = [start(work_all, run), start(work_all, run)]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert tar_hashes(run.directory.path) == reference
    assert not list(run.directory.work.glob("0*"))


def test_a_killed_command_resumes_with_the_same_command(prompts, reference, tmp_path) -> None:
    arguments = (f"prompt_file={prompts}", f"output_base_path={tmp_path}", "exp_name=run", *SMALL, "ngpu=2")
    with open(tmp_path / "output", "wb") as output:
        victim = warm.Popen(command(*arguments), stdout=output, stderr=output, start_new_session=True)
        while not list(tmp_path.glob("run/work/*.jsonl")):
            assert victim.poll() is None, (tmp_path / "output").read_text()
            time.sleep(0.05)
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()
    again = warm.run(command(*arguments), timeout=200)
    assert again.returncode == 0, again.stderr
    assert tar_hashes(tmp_path / "run") == reference
    once_more = warm.run(command(*arguments), timeout=100)
    assert once_more.returncode == 0
