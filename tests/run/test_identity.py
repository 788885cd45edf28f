"""A run knows what it is: the same command goes on with it, another one is refused with the difference named."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hydra.core.global_hydra import GlobalHydra

import jobs.generate
from jobs.base.differences import differences
from jobs.base.errors import BadInput
from jobs.media.video import VideoFormat
from jobs.run.open import check_task, create, open_run
from jobs.run.run import Run
from jobs.store.atomic import write_json
from jobs.store.attempt import Attempt
from tests.support import config

OTHER_PROMPTS = "prompt_file has other prompts, settings or columns among its first 3"
PROMPTS = "a red circle\na blue star\na green cross\n"


@pytest.fixture(autouse=True)
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a prompt file, to work in; Hydra's singleton is left as it was found."""
    (tmp_path / "p.txt").write_text(PROMPTS)
    monkeypatch.chdir(tmp_path)
    GlobalHydra.instance().clear()
    yield tmp_path
    GlobalHydra.instance().clear()


def begin(*overrides: str) -> Run:
    """The run ``out/run``, made as the command makes it, or gone on with; no model is needed for that."""
    cfg = config("prompt_file=p.txt", "output_base_path=out", "exp_name=run", "shard_size=2", *overrides)
    run = open_run(cfg)
    create(run)
    return run


def publish(run: Run, shard: int) -> None:
    """What makes a shard count as done: its tar and its done record."""
    run.directory.tar(shard).write_bytes(b"tar")
    samples = len(run.layout.shard_range(shard))
    write_json(run.directory.done_record(shard), {"shard": shard, "samples": samples, "failed": []})


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of ``python -m jobs.generate`` on the run, up to where shards would be worked."""

    def work(run: Run, shards: list[int], devices: list[str]) -> NoReturn:
        raise SystemExit(f"would work {shards}")  # a text, so that no code can be taken for it

    monkeypatch.setattr("jobs.execute.command.run_pool", work)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # main sets it; so it is put back
    given = ("prompt_file=p.txt", "output_base_path=out", "exp_name=run", "shard_size=2", "device=cpu")
    monkeypatch.setattr(sys, "argv", ["generate", *given, *arguments])
    with pytest.raises(SystemExit) as ended:
        jobs.generate.main()
    return ended.value.code  # type: ignore[return-value]


# --- another run in the same directory

CHANGES = [
    pytest.param(["seed=1"], ["seed was 0, is 1"], id="seed"),
    pytest.param(
        ["algo.w=1"],
        [
            *("algo.w was 0.5, is 1.0", "algo.weights was calibrated, is chebyshev"),
            *("algo.schedule was searched, is window", "algo.calibration was "),
        ],
        id="algo.w",
    ),
    pytest.param(["window_size=3"], ["window_size was 2.0, is 3.0"], id="window"),
    pytest.param(["algo=nocache"], ["algo was spectrum, is nocache"], id="algo"),
    pytest.param(["model=demo-unet", "algo=nocache"], ["algo was spectrum, is", "model was demo, is"], id="model"),
    pytest.param(["shard_size=3"], ["shard_size was 2, is 3"], id="shard_size"),
    pytest.param(["batch_size=1"], ["batch_size was 4, is 1"], id="batch_size"),
    pytest.param(["num_inference_steps=8"], ["num_inference_steps was 50, is 8"], id="steps"),
    pytest.param(["height=32"], ["height was 64, is 32"], id="height"),
    pytest.param(["guidance_scale=3"], ["guidance_scale was 2.0, is 3.0"], id="guidance"),
    pytest.param(
        ["samples_per_prompt=2", "seed=1"], ["samples_per_prompt was 1, is 2", "seed was 0, is 1"], id="repeats"
    ),
    pytest.param(
        ["total_prompt_num=2"], ["total_prompt_num=2 takes 2 prompts, of the 3 that it has"], id="fewer-prompts"
    ),
    pytest.param(["image_format=jpg"], ["image_format was png, is jpg"], id="format"),
    pytest.param(["image_quality=90"], ["image_quality was 95, is 90"], id="quality"),
    pytest.param(["mark=false"], ["mark was true, is false"], id="mark"),
    pytest.param(["parameters=true"], ["parameters was false, is true"], id="parameters"),
    pytest.param(["model.dtype=bfloat16"], ["model.dtype was float32, is bfloat16"], id="dtype"),
    pytest.param(
        ["model.scheduler=UniPCMultistepScheduler"],
        ["model.scheduler was null, is UniPCMultistepScheduler"],
        id="scheduler",
    ),
    pytest.param(["model.call.max_sequence_length=8"], ["model.call.max_sequence_length was 16, is 8"], id="call"),
    pytest.param(["model.negative_prompts=false"], ["model.negative_prompts was true, is false"], id="negative"),
    pytest.param(["model.guidance_argument=guidance_scale"], ["model.guidance_argument was true_cfg_scale"], id="cfg"),
    pytest.param(["seed=1", "batch_size=1"], ["batch_size was 4, is 1", "seed was 0, is 1"], id="two-at-once"),
]


@pytest.mark.parametrize(("overrides", "named"), CHANGES)
def test_another_identity_is_refused_with_every_difference(overrides: list[str], named: list[str]):
    publish(begin(), 0)
    with pytest.raises(BadInput) as caught:
        begin(*overrides)
    sentence = str(caught.value)
    assert sentence.startswith("out/run holds another run: ")
    for difference in named:
        assert difference in sentence
    assert sentence.count("; ") == len(named) - 1, "names something that did not change, or follows from another name"
    assert sentence.endswith(": set these back to continue it, or choose another exp_name")


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        (PROMPTS.replace("red", "pink"), "prompt_file has other prompts, settings or columns among its first 3"),
        (
            PROMPTS.replace("red", "pink") + "a star\n",
            "prompt_file has other prompts, settings or columns among its first 3",
        ),
        ("a red circle\n", "prompt_file had 3 prompts, has 1"),
    ],
)
def test_another_prompt_file_is_refused_though_it_has_the_same_name(at: Path, prompts: str, said: str):
    publish(begin(), 0)
    (at / "p.txt").write_text(prompts)
    with pytest.raises(BadInput) as caught:
        begin()
    assert str(caught.value) == (
        f"out/run holds another run: {said}: set these back to continue it, or choose another exp_name"
    )


def test_keyframes_of_clips_make_another_run():
    run = begin("model=demo-video", "video_keyframes=4", "mark=false", "parameters=true")
    publish(run, 0)
    assert run.media == VideoFormat(run.options.model.fps, 18, keyframes=4, mark=False, parameters=True)
    with pytest.raises(BadInput, match=r": video_keyframes was 4, is 5: "):
        begin("model=demo-video", "video_keyframes=5", "mark=false", "parameters=true")


def test_where_nothing_was_made_yet_another_run_begins():
    first = begin()
    second = begin("seed=1", "num_inference_steps=8")
    assert first.directory.read()["identity"] == json.loads(json.dumps(second.identity)) != first.identity
    assert second.directory.read()["id"] == second.id != first.id
    assert "seed: 1" in (second.directory.path / "config.yaml").read_text()


def test_a_sample_that_was_made_keeps_the_directory(at: Path):
    run = begin()
    attempt = Attempt(run.directory, 0, fingerprint="f", device="cpu", log="")
    attempt.append(0, ["a.png"], b"0" * 512, media_sha256="", seconds=1.0)
    attempt.end("error", "killed")
    with pytest.raises(BadInput, match="seed was 0, is 1"):
        begin("seed=1")


# --- a run that grows


def test_a_pilot_goes_on_with_more_prompts(at: Path):
    pilot = begin("total_prompt_num=2")
    publish(pilot, 0)
    whole = begin()
    assert (whole.id, whole.unfinished()) == (pilot.id, [1])
    record = whole.directory.read()
    assert (record["samples"], record["shards"], record["earlier"]) == (3, 2, [pilot.identity["prompts"]])
    check_task(pilot)  # a task of the pilot that waited in the queue
    (at / "p.txt").write_text(PROMPTS + "a pink star\na star\n")
    assert begin().directory.read()["shards"] == 3
    check_task(pilot)
    with pytest.raises(BadInput, match="total_prompt_num=2 takes 2 prompts, of the 5 that it has: set these back"):
        begin("total_prompt_num=2")


def test_a_run_does_not_grow_with_other_options():
    publish(begin("total_prompt_num=2"), 0)
    with pytest.raises(BadInput, match=r"seed was 0, is 1; prompt_file or total_prompt_num: had 2 prompts, has 3: set"):
        begin("seed=1")


def test_a_run_keeps_its_name_wherever_it_is_moved(at: Path):
    run = begin()
    publish(run, 0)
    (at / "out/run").rename(at / "moved")
    again = open_run(config("prompt_file=p.txt", "output_base_path=.", "exp_name=moved", "shard_size=2"))
    assert (again.name, again.id) == (run.name, run.id) == ("run", again.directory.read()["id"])


def test_other_weights_at_the_same_path_are_refused(at: Path):
    weights = at / "pipeline" / "transformer" / "weights.safetensors"
    weights.parent.mkdir(parents=True)
    (at / "pipeline" / "model_index.json").write_text('{"transformer": ["diffusers", "FluxTransformer2DModel"]}')
    weights.write_bytes(b"first")
    publish(begin("model.path=./pipeline"), 0)
    begin("model.path=./pipeline")
    weights.write_bytes(b"other")
    with pytest.raises(BadInput, match=r"model\.revision was \w{16}, is \w{16}"):
        begin("model.path=./pipeline")


COMMANDS = [
    pytest.param(["seed=1"], "seed was 0, is 1", id="seed"),
    pytest.param(["-m", "algo.w=1.0"], "algo.w was 0.5, is 1.0", id="w-with-m"),
]


@pytest.mark.parametrize(("arguments", "difference"), COMMANDS)
def test_the_command_refuses_with_code_2_and_one_line(
    at: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    difference: str,
):
    publish(begin(), 0)
    before = sorted(at.rglob("*"))
    assert command(monkeypatch, *arguments) == 2
    err = capfd.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and difference in err
    assert sorted(at.rglob("*")) == before


# --- the same run

SAME = [
    pytest.param([], id="same-command"),
    pytest.param(["num_inference_steps=50", "height=64"], id="defaults-spelt-out"),
    pytest.param(["flex_window=75e-2", "window_size=2.0"], id="numbers-written-otherwise"),
    pytest.param(["ngpu=2"], id="more-workers"),
    pytest.param(["device=cpu"], id="device"),
    pytest.param(["shards=1"], id="some-shards"),
    pytest.param(["shards_per_task=2"], id="larger-tasks"),
    pytest.param(["sample_attempts=5"], id="more-attempts"),
    pytest.param(["total_prompt_num=100"], id="a-limit-beyond-the-end"),
    pytest.param(["model.gpus=2"], id="gpus-of-a-task"),
    pytest.param(["audit_every=2", "audit_floor=35"], id="audits"),
]


@pytest.mark.parametrize("overrides", SAME)
def test_what_decides_no_byte_does_not_make_another_run(at: Path, overrides: list[str]):
    record = begin().directory.path / "run.json"
    written = record.read_bytes()
    begin(*overrides)
    assert record.read_bytes() == written


def test_the_same_command_goes_on_with_what_is_left(monkeypatch: pytest.MonkeyPatch):
    publish(begin(), 0)
    assert command(monkeypatch) == "would work [1]"


def test_a_first_command_works_everything(monkeypatch: pytest.MonkeyPatch, at: Path):
    assert command(monkeypatch) == "would work [0, 1]"
    assert (at / "out/run/run.json").exists() and (at / "out/run/config.yaml").exists()


# --- records that do not fit


def test_a_done_record_without_its_tar_is_refused_with_the_mend(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    run = begin()
    publish(run, 1)
    run.directory.tar(1).unlink()
    assert command(monkeypatch) == 2
    assert capfd.readouterr().err == (
        "error: out/run/data/00001.tar is missing although out/run/done/00001.json says it is done: "
        "put the tar back, or delete that record to make the shard again\n"
    )
    run.directory.done_record(1).unlink()  # the mend that it names
    assert command(monkeypatch) == "would work [0, 1]"


RECORDS: list[Any] = [
    pytest.param("[1]", "is not a run's record: restore it, or use another exp_name", id="a-list"),
    pytest.param("{", "is not valid JSON: restore it, or use another exp_name", id="torn"),
    pytest.param(
        '{"format": 1, "version": "0.2.0"}',
        "was begun by version 0.2.0 of this program, in a format that this one does not read: finish it with that ",
        id="earlier-format",
    ),
    pytest.param('{"format": 1}', "was begun by version 0.1.0 of this program", id="earliest-format"),
    pytest.param('{"format": 9, "version": "2.0"}', "was begun by version 2.0 of this program", id="later-format"),
]


@pytest.mark.parametrize(("content", "message"), RECORDS)
def test_a_record_that_cannot_be_read_is_refused(content: str, message: str):
    record = begin().directory.path / "run.json"
    record.write_text(content)
    with pytest.raises(BadInput, match=message):
        begin()


# --- the comparison itself


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param({"a": 1}, {"a": 1}, [], id="same"),
        pytest.param({"a": 1}, {"a": 1.0}, [], id="as-json-reads-it"),
        pytest.param({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a.c was 2, is 3"], id="nested"),
        pytest.param({"a": 1}, {"b": None, "a": 1}, [], id="absent-and-null-are-one"),
        pytest.param({"a": 1}, {"b": 2}, ["a was 1, is null", "b was null, is 2"], id="other-names"),
        pytest.param({"a": True}, {"a": {"b": 1}}, ['a was true, is {"b": 1}'], id="other-shape"),
    ],
)
def test_differences(old: dict[str, Any], new: dict[str, Any], said: list[str]):
    assert differences(old, new) == said
