"""What is asked of a run in a fork is answered as it would be here."""

import multiprocessing
import os
import signal
from types import SimpleNamespace

import pytest

from jobs.base.errors import BadInput
from jobs.execute import aside
from jobs.execute.local import worker_context
from jobs.run.run import Run
from tests.support import resolved

RUN = resolved("prompt_file=prompts/shapes.txt")


@pytest.fixture(autouse=True)
def _forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forks of this process, quicker to come than those of a server."""
    forks = multiprocessing.get_context("fork")
    context = SimpleNamespace(get_start_method=lambda: "forkserver", Pipe=forks.Pipe, Process=forks.Process)
    monkeypatch.setattr(aside, "worker_context", lambda run, devices: context)


def name_and_process(run: Run) -> tuple[str, int]:
    return run.name, os.getpid()


def refuse(run: Run) -> None:
    raise BadInput(f"{run.name} in {os.getpid()}")


def die_apart(run: Run) -> int:
    if multiprocessing.parent_process():
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def test_another_process_answers() -> None:
    name, process = aside.call_aside(["cpu"], name_and_process, RUN)
    assert name == "demo-shapes" and process != os.getpid()


def test_its_refusal_is_ours() -> None:
    with pytest.raises(BadInput, match=r"^demo-shapes in \d+$") as refusal:
        aside.call_aside(["cpu"], refuse, RUN)
    assert not str(refusal.value).endswith(f" {os.getpid()}")


def test_one_that_is_killed_is_replaced_by_this_process() -> None:
    assert aside.call_aside(["cpu"], die_apart, RUN) == os.getpid()


@pytest.mark.parametrize(("devices", "option"), [(["cuda:0"], "none"), (["cpu"], "blocks")])
def test_what_is_not_forked_is_called_here(monkeypatch: pytest.MonkeyPatch, devices: list[str], option: str) -> None:
    monkeypatch.setattr(aside, "worker_context", worker_context)
    run = resolved("prompt_file=prompts/shapes.txt", f"model.compile={option}")
    assert worker_context(run, devices).get_start_method() == "spawn"
    assert aside.call_aside(devices, name_and_process, run) == ("demo-shapes", os.getpid())
