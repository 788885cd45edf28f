"""When a process is to stop: signals, clocks, and what is told to whom."""

import os
import signal
import time

import psutil
import pytest

from jobs.base.times import LAST
from jobs.execute.halt import BEGAN, CUT_OFF, MINUTES, TIME, Halt, heeded_signals, task_end


def wait_until(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_only_sets_a_flag(number) -> None:
    before = signal.getsignal(number)
    halt = Halt()
    with heeded_signals(halt):
        os.kill(os.getpid(), signal.SIGCONT)  # as before a SIGTERM at preemption: says nothing by itself
        assert halt.before(1e6) == ""
        os.kill(os.getpid(), number)
        wait_until(lambda: halt.why)
        os.kill(os.getpid(), signal.SIGUSR2)
    assert halt.why.startswith(number.name)  # the first reason stays
    assert (halt.deadline is not None) == (number == signal.SIGTERM)  # a kill follows that one only
    assert not halt.overdue
    assert signal.getsignal(number) == before


def test_a_rank_that_follows_lets_signals_pass() -> None:
    halt = Halt()
    with heeded_signals(halt, leads=False):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR2)
        assert halt.before(0) == ""


@pytest.mark.parametrize(("left", "seconds", "stops"), [(1000, 100, False), (1000, 1000, True), (2 * LAST, 0, True)])
def test_nothing_is_begun_that_would_not_fit(left, seconds, stops) -> None:
    halt = Halt(time.time() + left)
    assert (halt.before(seconds) == TIME) == stops
    assert halt.before(0) == (TIME if stops else "")  # once it is to stop it stays so


def test_who_is_in_the_middle_of_something_is_overdue_before_the_end() -> None:
    assert Halt(time.time() + LAST - 1).overdue
    assert not Halt(time.time() + LAST + 60).overdue
    assert not Halt().overdue
    late = Halt(time.time() + 1000)
    late.ask(CUT_OFF, grace=-1)
    assert late.overdue


def test_most_of_the_time_has_passed() -> None:
    halt = Halt(time.time() + 1000)
    assert not halt.nearly_over and not Halt().nearly_over
    halt._begun -= 4000
    assert halt.nearly_over


def test_the_end_of_a_task_is_what_the_cluster_says_or_its_limit(monkeypatch) -> None:
    for name in ("SLURM_JOB_END_TIME", MINUTES, BEGAN, "SUBMITIT_LOCAL_TIMEOUT_S"):
        monkeypatch.delenv(name, raising=False)
    assert task_end() is None
    monkeypatch.setenv("SUBMITIT_LOCAL_TIMEOUT_S", "600")
    assert task_end() == psutil.Process().create_time() + 600
    monkeypatch.setenv(MINUTES, "60")
    monkeypatch.setenv(BEGAN, "1000")
    assert task_end() == 4600
    monkeypatch.setenv("SLURM_JOB_END_TIME", "5000")
    assert task_end() == 5000
