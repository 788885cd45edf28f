"""``batch_size=auto``: a number that is found once, when a run begins."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from jobs.base.errors import BadInput
from jobs.execute import queue
from jobs.execute.filling import fill
from jobs.run.open import create, open_run
from jobs.run.run import Run
from jobs.store.atomic import write_json
from tests.support import config, generate, write_prompts


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., Run]:
    """A command on the run ``out/run`` whose GPU holds so many samples, up to where it would begin to make any."""
    (tmp_path / "p.txt").write_text("a red circle\na blue star\na green cross\n")

    def begin(holds: int, *options: str) -> Run:
        folders = (f"prompt_file={tmp_path}/p.txt", f"output_base_path={tmp_path}/out", "exp_name=run")
        cfg = config(*folders, "batch_size=auto", "algo=nocache", "shard_size=2", *options)
        run = open_run(cfg, lambda run, card, option: holds)
        create(run)
        return run

    return begin


def test_the_number_is_the_runs_wherever_it_goes_on(command: Callable[..., Run], tmp_path: Path) -> None:
    run = command(3, "card=H100")
    assert run.options.batch_size == run.layout.batch_size == run.identity["batch_size"] == 3
    config_then = yaml.safe_load((tmp_path / "out/run/config.yaml").read_text())
    assert (config_then["batch_size"], config_then["card"]) == (3, None)
    assert command(5).identity == run.identity, "a task may be waiting for it in a queue"
    assert command(5, "seed=1").options.batch_size == 5, "another run, that begins"
    run = command(5, "seed=1")

    run.directory.tar(0).write_bytes(b"tar")
    write_json(run.directory.done_record(0), {"shard": 0, "samples": 2, "failed": []})
    assert command(7, "seed=1").identity == run.identity
    grown = command(7, "seed=1", "samples_per_prompt=2")
    assert grown.options.batch_size == 5 and grown.identity["raised"]
    with pytest.raises(BadInput, match=r"holds another run: seed was 1, is 2: "):
        command(7, "seed=2", "samples_per_prompt=2")


def test_tiles_are_found_once_and_before_the_batch(tmp_path: Path) -> None:
    prompts = write_prompts(tmp_path / "p.txt", 1)
    asked: list[tuple[str, int, bool]] = []

    def choose(run: Run, card: str | None, option: str) -> int | bool:
        asked.append((option, run.options.batch_size, run.options.model.vae_tiling))
        return 5 if option == "batch_size" else True

    def begin(*options: str) -> Run:
        folders = (f"prompt_file={prompts}", f"output_base_path={tmp_path}/out", "exp_name=run", "algo=nocache")
        return open_run(config(*folders, *options), choose)

    run = begin("model.vae_tiling=auto", "batch_size=auto", "card=24GB")
    assert asked == [("model.vae_tiling", 1, False), ("batch_size", 1, True)]
    assert run.identity == begin("model.vae_tiling=true", "batch_size=5").identity
    create(run)
    again = begin("model.vae_tiling=auto", "batch_size=auto", "card=80GB")
    assert again.identity == run.identity and len(asked) == 2, "found once"
    (note,) = again.notes
    assert note.endswith("card=80GB changes nothing, because the run keeps batch_size=5 and model.vae_tiling=true, as "
                         "it began")  # fmt: skip
    assert not run.notes
    assert not begin("model.vae_tiling=auto", "batch_size=auto").notes
    with pytest.raises(BadInput, match=r"card=FOO is not known: it must be one of "):
        begin("model.vae_tiling=auto", "batch_size=auto", "card=FOO")
    with pytest.raises(
        BadInput, match=r"model.vae_tiling=auto is found where a run begins, .* give true or false here"
    ):
        open_run(config(f"prompt_file={prompts}", f"output_base_path={tmp_path}", "model.vae_tiling=auto"))
    with pytest.raises(BadInput, match=r"model.vae_tiling must be true, false or auto, not 'yes please'"):
        begin("model.vae_tiling='yes please'")


def test_commands_that_begin_no_run_ask_for_a_number(tmp_path: Path) -> None:
    prompts = write_prompts(tmp_path / "p.txt", 1)
    with pytest.raises(BadInput, match="batch_size=auto is found where a run begins, by "):
        open_run(config(f"prompt_file={prompts}", f"output_base_path={tmp_path}", "batch_size=auto"))


@pytest.mark.slow
def test_a_sweep_finds_a_number_for_each_of_its_runs(tmp_path: Path) -> None:
    prompts = write_prompts(tmp_path / "p.txt", 1)
    options = (f"prompt_file={prompts}", f"output_base_path={tmp_path}", "algo=nocache", "dry_run=true")
    said = generate("-m", *options, "height=64,128", "batch_size=auto", "card=0.05GB").stderr
    small, large = (
        int(line.partition(" is ")[2].partition(":")[0]) for line in said.splitlines() if "=auto is" in line
    )
    assert small > large >= 1


def card_for(launcher: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *options: str) -> str:
    """The name of the GPU that batches of a run are to fit."""
    prompts = write_prompts(tmp_path / "p.txt", 1)
    cfg = config(f"prompt_file={prompts}", f"output_base_path={tmp_path}", "model=flux", "dry_run=true", *options)
    seen: list[str] = []
    monkeypatch.setattr("jobs.rehearse.fit.fitting_batch", lambda run, card: (seen.append(card.name) or 1, "of that"))
    assert fill(open_run(cfg), None, "batch_size", launcher) == 1
    return seen[0]


def slurm(**settings: str) -> Any:
    """What is asked of a launcher here."""
    none = {"gres": None, "constraint": None, "partition": None}
    return SimpleNamespace(on_this_machine=False, settings={**none, **settings})


@pytest.mark.parametrize(
    ("settings", "listing", "name"),
    [
        ({"gres": "gpu:h200:2"}, "", "H200 141 GB"),
        ({"constraint": "a100&80gb"}, "gpu:v100:4\n", "A100 80 GB"),
        ({"gres": "gpu:a100_2g.10gb:1"}, "", "MIG slice 2g.10gb"),
        ({}, "gpu:a100:4,gpu:a100_1g.5gb:7\n", "MIG slice 1g.5gb"),
        ({}, "gpu:h100:8(S:0-1)\ngpu:a100:4,gpu:h200:2,shard:64\n", "A100 40 GB"),
    ],
)
def test_a_launcher_names_the_gpu(
    settings: dict, listing: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(queue, "ask", lambda *command: listing)
    assert card_for(slurm(**settings), monkeypatch, tmp_path) == name


def test_this_machines_gpu_is_that_of_a_run_made_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there = [SimpleNamespace(name=f"GPU {size}", total_memory=size * 2**30) for size in (80, 48, 24)]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: len(there))
    monkeypatch.setattr("torch.cuda.get_device_properties", there.__getitem__)
    assert card_for(None, monkeypatch, tmp_path) == "GPU 80"
    assert card_for(None, monkeypatch, tmp_path, "ngpu=2") == "GPU 48", "of those in use the one with least memory"
    local = SimpleNamespace(on_this_machine=True)
    assert card_for(local, monkeypatch, tmp_path, "ngpu=3") == "GPU 24"


@pytest.mark.parametrize(
    ("launcher", "listing", "options", "why"),
    [
        (None, "", ("device=cpu",), "this run computes on the CPU"),
        (slurm(), "gpu:h100:8\n", ("device=cpu",), "the tasks of this run compute on CPUs"),
        (slurm(gres="gpu:a100_mig:1"), "gpu:a100_mig:4\n", (), "neither hydra.launcher.gres nor the partition names "),
        (slurm(), "gpu:4\n", (), "neither hydra.launcher.gres nor the partition names one that is known"),
        (slurm(), "gpu:h100:8\ngpu:mi300:8\n", (), "neither hydra.launcher.gres nor the partition names one that is "),
    ],
)
def test_where_no_gpu_is_known_one_is_asked_for(
    launcher: Any, listing: str, options: tuple, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(queue, "ask", lambda *command: listing)
    with pytest.raises(BadInput, match=f"batch_size=auto fits a batch to a GPU, and {why}") as refused:
        card_for(launcher, monkeypatch, tmp_path, *options)
    assert str(refused.value).endswith("give batch_size a number, or name the GPU, like card=H100 or card=24GB")
