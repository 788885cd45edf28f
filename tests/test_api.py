"""``jobs.api``: the commands as functions, with their exit codes as exceptions and no trace in the calling process."""

import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hydra.core.global_hydra import GlobalHydra

from jobs import api
from jobs.options.compose import compose_options
from jobs.options.model import ModelOptions
from jobs.options.places import CONF
from jobs.options.spelling import spelled, words_of
from jobs.run.read_options import read_options
from tests import warm
from tests.export.runs import finished_run, lines
from tests.support import command, tar_hashes, write_prompts

HOSTILE = 'it\'s "0,5" of [a, b], {c: d} = 1e3 \\ null # $x é'
TYPES = """
from pathlib import Path
from jobs import api

run: Path = api.generate(api.Options(prompt_file="p.csv", exp_name="x"), model="flux", launcher="submitit_slurm")
left: int = api.status(run).left
api.export([run], "out", api.ExportOptions(split="0.9,0.1"))
api.Options(prompt_file=3)
api.Options(no_such=3)
api.AlgoOptions(w="half")
"""


@pytest.fixture(autouse=True)
def _warm_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have commands forked from a process that has the libraries."""
    monkeypatch.setattr(api, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": warm.Popen}))


def small(folder: Path, **more: Any) -> api.Options:
    """A run of two shards with the embedded model."""
    options = api.Options(
        prompt_file=str(write_prompts(folder / "p.txt", 4)),
        output_base_path=str(folder),
        exp_name="run",
        shard_size=2,
        batch_size=1,
        num_inference_steps=6,
        device="cpu",
        algo=api.AlgoOptions(w=0.5),
    )
    return replace(options, **more)


def state() -> dict[str, Any]:
    """What of this process a call might change."""
    return {
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "masked": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": [*sys.path],
        "threads": {thread.name for thread in threading.enumerate() if not thread.name.startswith("Pool")},
        "children": {child.pid for child in psutil.Process().children()},
        "handlers": [*logging.getLogger().handlers],
        "hydra": GlobalHydra.instance().is_initialized(),
    }


# --- options as words


def test_options_in_python_are_what_the_command_reads() -> None:
    given = api.Options(
        prompt_file=HOSTILE,
        negative_prompt="null",
        exp_name="1e3",
        key_prefix=None,
        columns={"a b": "metadata", "c:d, (e)": "num_inference_steps"},
        total_prompt_num=7,
        audit_floor=1e-05,
        audit_every=None,
        mark=False,
        shards=[3, 5],
        algo=api.AlgoOptions(w=1 / 3, target="output"),
        parallel=api.Degrees(ulysses=2),
        container=api.Container(image="/a, b.sif", mounts=["/x:/y", HOSTILE]),
    )
    read = read_options(compose_options(words_of(given)))
    for one in fields(given):
        then, now = getattr(given, one.name), getattr(read, one.name)
        if is_dataclass(then) and one.name != "model":
            pairs = [(getattr(then, each.name), getattr(now, each.name)) for each in fields(then)]
            assert all(now == then for then, now in pairs if then not in (None, "???"))
        elif then is not None and one.name not in ("model", "shards"):
            assert now == then, one.name
    assert read.shards == "3,5"


def test_numbers_and_words_of_other_libraries_are_spelled() -> None:
    import numpy as np

    assert [spelled(one) for one in (np.int64(3), np.float32(0.5), Path("a b"), (1, None), {"a": True})] == [
        *("3", "0.5", "'a b'", "[1, null]", "{a: true}"),
    ]


def test_files_of_models_leave_other_options_at_their_defaults() -> None:
    """So an option that is as its default need not be said."""
    cfg = compose_options(["model=demo-video", "algo=nocache"])
    for one in fields(api.Options):
        if not is_dataclass(getattr(api.Options(), one.name)):
            assert cfg[one.name] == getattr(api.Options(), one.name), one.name
    assert not any("@package" in path.read_text() for path in CONF.rglob("*.yaml")), "as any could set what it wants"


# --- refusals


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        ({"prompt_file": "no.txt"}, {}, "prompt_file no.txt does not exist: give the path of a prompt file"),
        ({}, {"modl.dtype": "x"}, "there is no option 'modl.dtype': did you mean model.dtype='x'?"),
    ],
)
def test_what_the_command_refuses_is_bad_input(
    options: dict[str, Any], changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(api.BadInput) as caught:
        api.generate(small(tmp_path, **options), changes=changes)
    assert str(caught.value) == said
    assert [path.name for path in tmp_path.iterdir()] == ["p.txt"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"exp_name": None}, "exp_name is missing: give the run a name"),
        (
            {"model": ModelOptions(dtype="float16")},
            "Options.model is of no use here: name the model, like model='flux'",
        ),
    ],
)
def test_what_no_command_could_know_is_bad_input_too(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(api.BadInput, match=said):
        api.generate(small(tmp_path, **options))


def test_a_folder_that_is_no_run_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(api.BadInput, match="is not a run"):
        api.status(tmp_path)


# --- exports


def test_an_export_is_made_in_place_and_said(tmp_path: Path) -> None:
    run = finished_run(tmp_path, lines(7)).directory.path
    before, said = state(), list[str]()
    options = api.ExportOptions(split="0.5,0.5", energon=False)
    for _ in range(2):
        assert api.export(str(run), tmp_path / "out", options, say=said.append) == tmp_path / "out"
    assert said[-1].endswith("is this export already, whole: nothing was left to do")
    assert (tmp_path / "out" / "metadata.parquet").exists()
    assert state() == before
    with pytest.raises(api.BadInput, match="split must be the shares of"):
        api.export([run], tmp_path / "other", replace(options, split="0.5,0.6"))


# --- scores


def test_a_run_is_scored_by_the_command(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a=b", lines(3)).directory.path
    with pytest.raises(api.BadInput, match="there is no scorer 'sharp'"):
        api.score(run, api.ScoreOptions(scorers="sharp"))
    said: list[str] = []
    assert api.score(run, api.ScoreOptions(scorers="basic"), changes={"device": "cpu"}, say=said.append) == run
    assert "3 of 3 samples, 1 of 1 shards done" in "\n".join(said)
    assert (run / "scores/basic/meta/00000.parquet").exists()


# --- runs


@pytest.mark.slow
def test_a_killed_and_an_interrupted_call_go_on_and_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Called in a thread, as Prefect and Airflow call tasks."""
    options = small(tmp_path, algo=api.AlgoOptions())  # says at once that no calibration is for so few steps
    monkeypatch.setenv("TQDM_MININTERVAL", "0")
    warm.run(command("--help"))  # so that the process which commands are forked from is there
    known, before = {*psutil.Process().children()}, state()

    def kill(line: str) -> None:
        (process,) = {*psutil.Process().children()} - known
        process.kill()

    def interrupt(line: str) -> None:
        if "/4 [" in line:
            raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(api.Unfinished, match="the command was killed by signal 9: the same call goes on"):
            pool.submit(api.generate, options, say=kill).result()
        with pytest.raises(KeyboardInterrupt):
            pool.submit(api.generate, options, say=interrupt).result()
        run = pool.submit(api.generate, options).result()
    assert run == tmp_path / "run"
    status = api.status(run)
    assert (status.samples_done, status.done, status.left, status.running) == (4, 2, 0, 0)
    assert state() == before
    before_last = tar_hashes(run)
    assert api.generate(options) == run and tar_hashes(run) == before_last


@pytest.mark.slow
def test_samples_that_failed_are_unfinished_work_with_the_summary(tmp_path: Path) -> None:
    options = small(tmp_path, guidance_scale=1e300, total_prompt_num=1)  # overflows float32
    with pytest.raises(api.Unfinished, match=r"(?s)0 of 1 samples.*run the same command again") as caught:
        api.generate(options)
    assert "%|" not in str(caught.value)
    assert api.status(tmp_path / "run").failures[0]["sample"] == "00000000_0000"


# --- types


@pytest.mark.slow
def test_a_type_checker_sees_the_options(tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(TYPES)
    words = ["--strict", "--config-file", "", "--ignore-missing-imports", "--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words, str(tmp_path / "use.py")], capture_output=True, text=True, timeout=300
    )
    found = [line.partition("error: ")[2] for line in done.stdout.splitlines() if "use.py" in line]
    assert found == [
        'Argument "prompt_file" to "Options" has incompatible type "int"; expected "str"  [arg-type]',
        'Unexpected keyword argument "no_such" for "Options"  [call-arg]',
        'Argument "w" to "AlgoOptions" has incompatible type "str"; expected "float"  [arg-type]',
    ]
