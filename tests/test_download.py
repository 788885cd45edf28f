"""``python -m jobs.download`` on a hub of our own: all that is needed, resumed, or a sentence that says why."""

import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from jobs.model.checkpoint import find_checkpoint, missing_part
from tests import warm
from tests.fake_hub import FakeHub
from tests.support import PROJECT, command
from tests.tiny_pipelines import save

REPOSITORY = "lab/tiny"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Wan pipeline, and beside it what must not be fetched: weights in another format, and pictures."""
    folder = tmp_path_factory.mktemp("tiny")
    save("wan14b", folder)
    (folder / "transformer" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    (folder / "examples").mkdir()
    (folder / "examples" / "cat.png").write_bytes(b"png")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the client keeps its cache, in all tests: it reads that when it is imported."""
    return tmp_path_factory.mktemp("home") / "hf"


@pytest.fixture(scope="module")
def served(folder: Path, home: Path) -> Iterator[tuple[FakeHub, dict[str, str]]]:
    """One hub for all tests, and the environment in which commands find it, whose libraries are imported once."""
    hub = FakeHub(REPOSITORY, folder)
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    with warm.imported_in(environment):
        yield hub, environment
    hub.close()


@pytest.fixture
def hub(served: tuple[FakeHub, dict[str, str]], folder: Path, home: Path) -> Iterator[FakeHub]:
    """That hub as it was at first, and nothing fetched from it."""
    hub, _ = served
    yield hub
    hub.reset(folder)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def download(hub: FakeHub, served: tuple[FakeHub, dict[str, str]]) -> Run:
    """Run the command for real."""
    _, environment = served

    def run(*arguments: str, module: str = "jobs.download", **more: str) -> subprocess.CompletedProcess[str]:
        words = command("model=wan14b", f"model.path={REPOSITORY}", *arguments, module=module)
        return warm.run(words, cwd=PROJECT, env={**environment, **more}, timeout=120)

    return run


def snapshot(home: Path, hub: FakeHub) -> Path:
    return home / "hub" / "models--lab--tiny" / "snapshots" / hub.commit


@pytest.mark.slow
def test_what_is_needed_comes_whole_and_goes_into_the_runs_identity(
    hub: FakeHub, download: Run, tmp_path: Path, home: Path
):
    (tmp_path / "p.txt").write_text("a cat\n")
    run = (f"prompt_file={tmp_path}/p.txt", f"output_base_path={tmp_path}", "exp_name=run", "device=cpu")
    small = ("model.dtype=float32", "height=32", "width=32", "num_frames=5", "num_inference_steps=2")
    before = download(*run, *small, module="jobs.generate")
    assert before.returncode == 2
    fetch = "run python -m jobs.download model.path=lab/tiny first"
    assert before.stderr == f"error: model.path lab/tiny is not downloaded: {fetch}\n"

    done = download()
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{REPOSITORY} is complete: revision {hub.commit} in {snapshot(home, hub)}\n"
    fetched = {str(p.relative_to(snapshot(home, hub))) for p in snapshot(home, hub).rglob("*") if p.is_file()}
    unwanted = {"transformer/diffusion_pytorch_model.bin", "examples/cat.png"}
    assert fetched == set(hub.files()) - unwanted

    asked = len(hub.requests)
    assert download(*run, *small, module="jobs.generate").returncode == 0
    assert len(hub.requests) == asked, "generating asks the network for nothing"
    assert f'"revision": "{hub.commit}"' in (tmp_path / "run" / "run.json").read_text()

    # The branch moves on and is downloaded again; the run goes on with what it began with.
    hub.commit = "d" * 40
    assert download().returncode == 0
    (tmp_path / "run" / "done" / "00000.json").unlink()
    again = download(*run, *small, module="jobs.generate")
    assert again.returncode == 0, again.stderr
    assert "c" * 40 in (tmp_path / "run" / "run.json").read_text()

    # Gone from the cache, those weights are asked for by their commit, although the branch means others.
    shutil.rmtree(snapshot(home, hub).parent / ("c" * 40))
    (tmp_path / "run" / "done" / "00000.json").unlink()
    lost = download(*run, *small, module="jobs.generate")
    assert f"run python -m jobs.download model.path=lab/tiny model.revision={'c' * 40} first" in lost.stderr


@pytest.mark.slow
def test_parts_from_elsewhere_come_alone(hub: FakeHub, download: Run, tmp_path: Path, folder: Path, home: Path):
    done = download(f"model.transformer={folder}/transformer")
    assert done.returncode == 0, done.stderr
    fetched = {file.name for file in (snapshot(home, hub) / "transformer").iterdir()}
    assert fetched == {"config.json"}, "its weights are not loaded"
    hub.folder, hub.commit = folder / "vae", "d" * 40
    done = download(f"model.path={folder}", "model.vae=lab/tiny@main")
    assert done.returncode == 0, done.stderr
    names = {file.name for file in snapshot(home, hub).iterdir()}
    assert names == {"config.json", "diffusion_pytorch_model.safetensors"}
    save_file({"vae.a": torch.zeros(1)}, tmp_path / "all.safetensors")
    hub.folder, hub.commit = folder, "e" * 40
    done = download(f"model.path={tmp_path}/all.safetensors", "model.config=lab/tiny")
    found = [file for file in snapshot(home, hub).rglob("*") if file.is_file()]
    assert {file.suffix for file in found} == {".json"} and len(found) > 4


@pytest.mark.slow
def test_a_dropped_line_is_picked_up_where_it_broke(
    hub: FakeHub, download: Run, tmp_path: Path, folder: Path, home: Path
):
    hub.folder = tmp_path / "large"
    shutil.copytree(folder, hub.folder)
    noise = bytearray(random.Random(0).randbytes(24 << 20))  # the client writes 10 MiB at a time
    save_file({"noise": torch.frombuffer(noise, dtype=torch.uint8)}, hub.folder / WEIGHTS)
    large = (hub.folder / WEIGHTS).read_bytes()
    hub.drop.add(WEIGHTS)
    done = download()
    if done.returncode:  # the client gave up: the same command goes on
        assert re.fullmatch(r"error: the hub ended .* it goes on\n", done.stderr)
        done = download()
    assert done.returncode == 0, done.stderr
    ranges = [wanted for method, path, wanted in hub.requests if method == "GET" and path.endswith(WEIGHTS)]
    assert ranges == ["", f"bytes={10 << 20}-"], "the second request begins where the first one ended"
    assert (snapshot(home, hub) / WEIGHTS).read_bytes() == large


SLOW = pytest.mark.slow
REFUSED = [
    pytest.param((401, "GatedRepo"), (), "lab/tiny has a licence to accept: do so at https://huggingface.co/lab/tiny, "
                 "then log in with 'hf auth login' or set HF_TOKEN", id="no-token"),
    pytest.param((403, "GatedRepo"), (), "lab/tiny has a licence to *", id="not-accepted", marks=SLOW),
    pytest.param(None, ("model.path=lab/none",), "the hub has no lab/none, or *", id="no-such", marks=SLOW),
    pytest.param(None, ("model.revision=v9",), "lab/tiny has no revision v9: give a branch*", id="tag", marks=SLOW),
    pytest.param(None, ("model.path=nowhere",), "model.path nowhere is neither a *", id="not-an-id", marks=SLOW),
    pytest.param(None, ("model=none",), "model=none is not known: choose one of *", id="unknown-model"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("gate", "arguments", "sentence"), REFUSED)
def test_what_the_hub_refuses_is_said_in_one_sentence(
    hub: FakeHub, download: Run, gate: tuple[int, str] | None, arguments: tuple[str, ...], sentence: str
):
    hub.gate = gate
    done = download(*arguments)
    assert done.returncode == 2
    said = done.stderr.splitlines()[-1]
    assert re.fullmatch("error: " + re.escape(sentence).replace(r"\*", ".*"), said), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_without_a_network_it_says_where_to_run_it(download: Run):
    done = download(HF_HUB_OFFLINE="1")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: the hub cannot be reached for lab/tiny: run this where ")


PARTS = [
    ("model_index.json", "a readable model_index.json"),
    ("scheduler", "the folder scheduler"),
    (WEIGHTS, "the weights in transformer"),
    ("text_encoder/model.safetensors", "the weights in text_encoder"),
]


@pytest.mark.parametrize(("gone", "named"), PARTS)
def test_a_missing_part_is_named(tmp_path: Path, gone: str, named: str):
    save("wan14b", tmp_path)
    assert missing_part(tmp_path) is None
    (tmp_path / gone).rename(tmp_path / "elsewhere")
    assert missing_part(tmp_path) == named


def test_a_missing_shard_of_weights_is_named(tmp_path: Path):
    save("wan14b", tmp_path)
    part = tmp_path / "transformer"
    (part / "diffusion_pytorch_model.safetensors").rename(part / "a.safetensors")
    (part / "x.index.json").write_text('{"weight_map": {"one": "a.safetensors", "two": "b.safetensors"}}')
    assert missing_part(tmp_path) == "transformer/b.safetensors"
    (part / "b.safetensors").write_bytes(b"")
    assert missing_part(tmp_path) is None


def test_weights_of_a_variant_alone_are_not_whole(tmp_path: Path):
    save("wan14b", tmp_path)
    weights = tmp_path / WEIGHTS
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert missing_part(tmp_path) == "the weights in transformer"


def test_the_digest_is_of_what_is_loaded_behind_links_too(tmp_path: Path):
    save("wan14b", tmp_path / "one")
    (tmp_path / "one" / "transformer").rename(tmp_path / "shared")
    (tmp_path / "one" / "transformer").symlink_to(tmp_path / "shared")
    before = find_checkpoint(str(tmp_path / "one"), None).revision
    (tmp_path / "one" / "README.md").write_text("decides nothing")
    assert find_checkpoint(str(tmp_path / "one"), None).revision == before
    weights = tmp_path / "shared" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert find_checkpoint(str(tmp_path / "one"), None).revision != before


def test_a_directory_needs_no_revision(tmp_path: Path):
    save("wan14b", tmp_path)
    assert find_checkpoint(str(tmp_path), None).folder == tmp_path
