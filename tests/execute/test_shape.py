"""How tasks lie on nodes, and what they ask for: tables of settings, without a cluster."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.base.errors import BadInput
from jobs.base.times import GENERATES
from jobs.execute import queue, timings
from jobs.execute.asks import asked, shards_per_task
from jobs.execute.machines import Machine, read_machine, read_minutes
from jobs.execute.resources import check_nodes, check_resources, submission
from jobs.execute.shape import Shape, shape_of
from jobs.execute.timings import Timing, timing_of
from jobs.model.checkpoint import Checkpoint
from jobs.model.weights import weight_bytes
from jobs.options.degrees import Degrees
from jobs.run.run import Run
from tests.support import resolved, write_prompts

SLURM = {
    **{"nodes": 1, "tasks_per_node": 1, "gpus_per_node": None, "cpus_per_task": None, "mem_gb": None, "gres": None},
    **{"timeout_min": 60, "signal_delay_s": 120, "setup": None, "additional_parameters": {}, "partition": None},
}


@pytest.fixture(autouse=True)
def nothing_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests' processes took shall not decide what is asked for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("shape")
    return resolved(f"output_base_path={folder}", f"prompt_file={write_prompts(folder / 'p.txt', 40)}", "shard_size=4")


def on_gpus(run: Run, *, ngpu: int = 1, gpus: int = 1, **degrees: int) -> Run:
    shared = Degrees(**degrees)
    model = replace(run.options.model, gpus=gpus)
    return replace(run, options=replace(run.options, model=model, parallel=shared, ngpu=max(ngpu, shared.size)))


SHAPES = [
    ({}, {}, Shape(1, 1, 1, 1)),  # one GPU a task
    ({"gpus_per_node": 1}, {}, Shape(1, 1, 1, 1)),
    ({"gpus_per_node": 8}, {}, Shape(1, 8, 8, 8)),  # a whole node
    ({"gpus_per_node": 8}, {"ngpu": 8}, Shape(1, 8, 8, 8)),
    ({}, {"ngpu": 8}, Shape(1, 8, 8, 8)),
    ({"gres": "gpu:a100:4,shard:2"}, {}, Shape(1, 4, 4, 4)),
    ({"tasks_per_node": 8}, {}, Shape(8, 8, 1, 8)),  # as many processes of the cluster's
    ({"tasks_per_node": 8, "gpus_per_node": 8}, {}, Shape(8, 8, 1, 8)),
    ({}, {"cfg": 2}, Shape(2, 2, 1, 1)),  # ranks of one group
    ({"gpus_per_node": 8}, {"cfg": 2, "ulysses": 2}, Shape(1, 8, 2, 2)),  # groups inside
    ({"tasks_per_node": 8}, {"cfg": 2}, Shape(8, 8, 1, 4)),
    ({"nodes": 2}, {"ulysses": 4}, Shape(2, 2, 1, 1)),  # a group over two nodes
    ({}, {"gpus": 0}, Shape(1, 0, 1, 1)),
    ({}, {"gpus": 0, "ngpu": 4}, Shape(1, 0, 4, 4)),  # processes on CPUs
    ({"gpus_per_node": 2}, {"gpus": 0}, Shape(1, 2, 2, 2)),
]


@pytest.mark.parametrize(("settings", "how", "shape"), SHAPES)
def test_a_task_uses_all_the_gpus_that_it_is_given(run, settings, how, shape) -> None:
    assert shape_of({**SLURM, **settings}, set(settings), on_gpus(run, **how).options) == shape


@pytest.mark.parametrize(
    ("settings", "how", "sentence"),
    [
        ({"gpus_per_node": 6}, {"ulysses": 4}, "ask for hydra.launcher.gpus_per_node=4"),
        ({"gpus_per_node": 4}, {"ngpu": 8}, "ngpu=8 and the 4 GPUs a node .* do not go together: leave one"),
        ({"tasks_per_node": 3}, {"cfg": 2}, "makes 3 ranks, and parallel.cfg=2 needs 2"),
        ({"tasks_per_node": 4, "gpus_per_node": 2}, {}, "is fewer than 4 tasks need"),
        ({"nodes": 2, "tasks_per_node": 4}, {"cfg": 2}, "on 2 nodes makes 8 ranks"),
    ],
)
def test_gpus_that_would_lie_idle_are_refused(run, settings, how, sentence) -> None:
    with pytest.raises(BadInput, match=sentence):
        shape_of({**SLURM, **settings}, set(settings), on_gpus(run, **how).options)


ONE = Shape(1, 1, 1, 1)
NODE = Shape(1, 8, 8, 8)


def measure(monkeypatch, timing: Timing | None) -> None:
    monkeypatch.setattr("jobs.execute.asks.timing_of", lambda run: timing)


def test_a_task_generates_for_half_an_hour(run, monkeypatch) -> None:
    run = on_gpus(run)
    for sample in (0.3, 2.0, 100.0, 4000.0):
        measure(monkeypatch, Timing(sample, 60, True))
        for shape in (ONE, NODE):
            shards = shards_per_task(run, shape)
            assert shards % shape.at_once == 0
            generating = shards // shape.at_once * run.layout.shard_size * sample
            assert GENERATES <= generating < GENERATES + run.layout.shard_size * sample
            minutes = asked(SLURM, set(), run, shape, Machine())["timeout_min"]
            assert 60 * minutes > 1.4 * generating
    measure(monkeypatch, None)
    assert shards_per_task(run, ONE) == 1 and shards_per_task(run, NODE) == 8
    assert asked(SLURM, set(), run, ONE, Machine())["timeout_min"] == 60


def test_what_is_asked_for_fits_the_workers_and_the_largest_node(run, monkeypatch) -> None:
    measure(monkeypatch, Timing(1e5, 60, True))
    gpus, cpu = on_gpus(run), on_gpus(run, gpus=0)
    monkeypatch.setattr("jobs.execute.asks.weight_bytes", lambda checkpoint: 30 * 10**9)
    one, node = (asked(SLURM, set(), gpus, shape, Machine()) for shape in (ONE, NODE))
    assert (one["cpus_per_task"], node["cpus_per_task"]) == (4, 32)
    assert (one["mem_gb"], node["mem_gb"]) == (40, 68)  # the weights once, on their way to the GPUs
    assert asked(SLURM, set(), cpu, Shape(1, 0, 2, 2), Machine())["mem_gb"] == 80  # ... where they stay, twice
    small = asked(SLURM, set(), gpus, NODE, Machine(cpus=16, memory_gb=64, minutes=120))
    assert small == {"cpus_per_task": 16, "mem_gb": 64, "timeout_min": 120}
    ranks = asked(SLURM, set(), gpus, Shape(8, 8, 1, 8), Machine(cpus=16))
    assert ranks["cpus_per_task"] == 2  # of each process
    assert asked(SLURM, {"cpus_per_gpu", "mem_per_cpu", "timeout_min"}, cpu, ONE, Machine()) == {}


def test_a_time_limit_that_no_batch_fits_into_is_refused_once_it_is_known(run, monkeypatch) -> None:
    measure(monkeypatch, Timing(100.0, 60, True))
    run = on_gpus(run)
    with pytest.raises(BadInput, match="timeout_min=5 is too short: loading took 60 seconds and a batch 400"):
        asked({**SLURM, "timeout_min": 5}, {"timeout_min"}, run, ONE, Machine())
    measure(monkeypatch, Timing(100.0, 60, False))
    assert "timeout_min" not in asked({**SLURM, "timeout_min": 5}, {"timeout_min"}, run, ONE, Machine())


def test_own_settings_win(run, monkeypatch) -> None:
    monkeypatch.setattr("jobs.execute.resources.largest_machine", lambda partition: Machine())
    own = {"cpus_per_task": 7, "mem_gb": 9, "timeout_min": 33, "signal_delay_s": 11, "setup": ["module load x"]}
    own |= {"additional_parameters": {"requeue": False, "mail-type": "END"}}
    made = submission({**SLURM, **own}, set(own), [on_gpus(run)], "name")
    assert {name: made[name] for name in own if name not in ("setup", "additional_parameters")} == {
        name: value for name, value in own.items() if name not in ("setup", "additional_parameters")
    }
    assert made["additional_parameters"] == {"requeue": False, "mail-type": "END"}
    assert made["setup"][:2] == ['export JOBS_TIMEOUT_MIN=33 JOBS_BEGAN="$(date +%s)"', "module load x"]
    open_ones = submission(SLURM, set(), [on_gpus(run)], "name")
    assert open_ones["additional_parameters"] == {"requeue": True} and open_ones["signal_delay_s"] == 30
    assert (open_ones["gpus_per_node"], open_ones["tasks_per_node"]) == (1, 1)
    short = submission({**SLURM, "timeout_min": 1}, {"timeout_min"}, [on_gpus(run)], "name")
    assert short["signal_delay_s"] < 60
    given = submission({**SLURM, "gres": "gpu:4"}, {"gres"}, [on_gpus(run)], "name")
    assert given["gpus_per_node"] is None and given["gres"] == "gpu:4"


@pytest.mark.parametrize(("minutes", "signal"), [(1, 60), (2, 120), (0, 0)])
def test_a_signal_that_would_come_at_once_is_refused(run, minutes, signal) -> None:
    settings = {**SLURM, "timeout_min": minutes, "signal_delay_s": signal}
    launcher = SimpleNamespace(settings=settings, given={"timeout_min", "signal_delay_s"})
    with pytest.raises(BadInput, match=r"timeout_min=|signal_delay_s="):
        check_resources(launcher, [run])


def test_what_was_measured_is_found_again_by_whatever_it_depends_on(run, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert timing_of(run) is None
    known = replace(run, options=replace(run.options, model=replace(run.options.model, step_seconds=0.5)))
    guess = timing_of(known)
    assert guess and not guess.measured
    assert guess.sample == pytest.approx(0.5 * len(run.forecast.plan(50).evaluated))
    timings.keep(run, "old GPU", sample=3.0, load=20.0)
    timings.keep(run, "new GPU", sample=1.0, load=10.0)
    assert timing_of(known) == Timing(1.0, 10.0, True)
    assert timing_of(replace(run, options=replace(run.options, batch_size=2))) is None
    for path in timings.folder().iterdir():
        path.write_text("{")  # a torn file is no reason to fail
    assert timing_of(run) is None


def test_the_weights_that_are_loaded_are_counted(tmp_path: Path) -> None:
    def counted(variant: str | None) -> int:
        return weight_bytes(Checkpoint("x", None, tmp_path, local=True, variant=variant))

    files = {"unet/model.safetensors": 100, "unet/model.bin": 90, "unet/model.fp16.safetensors": 50}
    files |= {"vae/a-00001-of-00002.bin": 7, "vae/config.json": 1000, "top.safetensors": 9}
    for name, size in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    assert (counted(None), counted("fp16"), counted("bf16")) == (107, 57, 107)
    (tmp_path / "unet/model.fp16.safetensors").rename(tmp_path / "unet/model.fp16-00001-of-00001.safetensors")
    assert counted("fp16") == 57
    assert weight_bytes(Checkpoint("x", None, None, local=False)) == 0


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({}, None),
        ({"cpus_per_task": 8, "mem_gb": 62, "gpus_per_node": 2}, None),
        ({"cpus_per_task": 9}, "cpus_per_task=9 is more than any node of the default partition has, which is 8 CPUs: "),
        ({"cpus_per_task": 5, "tasks_per_node": 2}, "cpus_per_task=5 for each of 2 tasks on a node is more than any"),
        ({"mem_gb": 63}, "mem_gb=63 is more than any node of the default partition has, which is 62 GB of memory: ask"),
        ({"gpus_per_node": 3, "partition": "x"}, "gpus_per_node=3 is more than any node of partition x has, which is"),
    ],
)
def test_what_no_node_has_is_refused(monkeypatch, asked: dict[str, Any], sentence: str | None) -> None:
    answers = {"--exact": "dev*|4|64000|infinite\ndev*|8|32000|infinite\n", "--format=%G": "gpu:2\n(null)\n"}
    monkeypatch.setattr(queue, "ask", lambda *command: next(text for sign, text in answers.items() if sign in command))
    every = dict.fromkeys(("cpus_per_task", "mem_gb", "gpus_per_node", "tasks_per_node", "partition"))
    if sentence is None:
        return check_nodes({**every, **asked})
    with pytest.raises(BadInput, match=f"^hydra.launcher.{re.escape(sentence)}"):
        check_nodes({**every, **asked})


def test_the_bounds_of_a_partition() -> None:
    rows = [["dev*", "4", "64000", "1-00:00:00"], ["dev*", "128", "1000000", "infinite"]]
    assert read_machine(rows) == Machine(128, 976, 1440)  # 977 GB of Slurm's are more than a million MB
    assert read_machine([]) == Machine()
    assert [read_minutes(text) for text in ("30:00", "2:00:00", "1-12:30:00", "infinite")] == [30, 120, 2190, None]
