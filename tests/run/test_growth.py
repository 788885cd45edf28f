"""A run goes on with more samples of each prompt: what it has keeps its bytes, whatever else grows, fails or waits."""

import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from jobs.base.errors import BadInput
from jobs.dataset.numbering import Raise
from jobs.dataset.shards import Shards
from jobs.execute.worker import generate_shards
from jobs.regenerate.remake import find_sample, open_finished, remake
from jobs.report.status import read_status
from jobs.run.calibration import choose_samples
from jobs.run.open import check_task, create, open_run
from jobs.run.run import Run
from jobs.store.atomic import write_json
from tests.export.runs import lines, make_shards
from tests.export.test_export import export, refusal, samples
from tests.support import config, tar_hashes


def begin(folder: Path, prompts: int, repeats: int, *more: str) -> Run:
    """The run ``folder/run`` of so many prompts and samples of each, begun or gone on with; shards of 4."""
    folder.mkdir(exist_ok=True)
    (folder / "p.txt").write_text(lines(20))
    return opened(folder / "p.txt", repeats, *more, total_prompt_num=prompts)


def opened(prompt_file: Path, repeats: int, *more: str, total_prompt_num: int | None = None) -> Run:
    options = (f"prompt_file={prompt_file}", f"output_base_path={prompt_file.parent}", "exp_name=run", "shard_size=4")
    cfg = config(*options, *more)
    cfg.samples_per_prompt, cfg.total_prompt_num = repeats, total_prompt_num  # Hydra takes a second for others
    run = open_run(cfg)
    create(run)
    return run


def make(run: Run, *failing: int, most: int | None = None) -> list[int]:
    """Make what is unfinished, or the first shards of it; returns which shards."""
    left = run.unfinished()[:most]
    for shard in left:
        make_shards(run, dict.fromkeys(failing, "ValueError: no"), range(shard, shard + 1))
    return left


def keys(run: Run) -> list[str]:
    """The keys in all tars, in order."""
    found: list[str] = []
    for path in sorted(run.directory.data.glob("*.tar")):
        with tarfile.open(path) as archive:
            found += dict.fromkeys(name.partition(".")[0] for name in archive.getnames())
    return found


def test_further_repeats_follow_in_shards_of_their_own(tmp_path: Path) -> None:
    few = begin(tmp_path, 5, 1)
    make(few)
    record = few.directory.read()
    del record["blocks"]  # which earlier versions did not write
    write_json(few.directory.path / "run.json", record)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in few.directory.path.glob("[dm]*/*")}
    more = begin(tmp_path, 5, 3)
    assert (more.id, more.unfinished()) == (few.id, [2, 3, 4])
    record = more.directory.read()
    assert (record["samples"], record["shards"], record["blocks"]) == (15, 5, [5, 10])
    assert record["identity"]["raised"] == [{"prompts": 5, "samples_per_prompt": 1}]
    assert Shards.of(record) == more.layout.shards
    status = read_status(more.directory)
    assert (status.samples, status.samples_done, status.left) == (15, 5, 3)
    make(more)
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in before} == before
    assert keys(more) == [f"{prompt:08d}_0000" for prompt in range(5)] + [
        f"{prompt:08d}_{repeat:04d}" for prompt in range(5) for repeat in (1, 2)
    ]
    written = (more.directory.path / "run.json").read_bytes()
    again = begin(tmp_path, 5, 3)
    assert again.unfinished() == [] and (more.directory.path / "run.json").read_bytes() == written


@pytest.mark.parametrize(
    "history",
    [
        [(5, 1), (5, 2), (9, 2)],
        [(5, 1), (7, 1), (7, 3)],
        [(6, 2), (11, 3)],  # both at once
        [(3, 1), (3, 2), (3, 4), (9, 4), (10, 5), (13, 5)],
    ],
)
def test_the_bytes_follow_from_how_it_grew_and_not_from_when_it_was_made(
    history: list[tuple[int, int]], tmp_path: Path
) -> None:
    seen: dict[str, str] = {}
    for prompts, repeats in history:
        run = begin(tmp_path / "steady", prompts, repeats)
        make(run)
        now = tar_hashes(run.directory.path)
        short = {name for name in seen if seen[name] != now[name]}
        assert len(short) <= 1, "other shards than one that further prompts filled up"
        seen = now
    prompts, repeats = history[-1]
    assert sorted(keys(run)) == [f"{p:08d}_{r:04d}" for p in range(prompts) for r in range(repeats)]
    for prompts, repeats in history:
        late = begin(tmp_path / "late", prompts, repeats)
        make(late, most=1)
    make(late)
    assert tar_hashes(late.directory.path) == seen
    assert late.identity == run.identity


def test_fewer_are_refused_and_so_is_what_else_changed(tmp_path: Path) -> None:
    make(begin(tmp_path, 5, 2), most=1)
    make(begin(tmp_path, 5, 3), most=1)
    with pytest.raises(BadInput) as caught:
        begin(tmp_path, 5, 1)
    assert str(caught.value) == (
        f"{tmp_path}/run holds another run: samples_per_prompt was 3, is 1: "
        "set these back to continue it, or choose another exp_name"
    )
    with pytest.raises(BadInput, match=r"run: samples_per_prompt was 3, is 4; seed was 0, is 1: set"):
        begin(tmp_path, 5, 4, "seed=1")
    with pytest.raises(BadInput, match=r"samples_per_prompt was 3, is 4; total_prompt_num=4 takes 4 prompts, of the 5"):
        begin(tmp_path, 4, 4)
    assert begin(tmp_path, 5, 3).layout.raised == (Raise(5, 2),)


def test_a_run_in_which_nothing_was_made_begins_anew(tmp_path: Path) -> None:
    begin(tmp_path, 5, 1)
    run = begin(tmp_path, 5, 2)
    assert run.layout.raised == () and "raised" not in run.directory.read()["identity"]
    make(run)
    assert keys(run)[:3] == ["00000000_0000", "00000000_0001", "00000001_0000"]


def test_tasks_that_waited_in_a_queue_are_still_for_the_run(tmp_path: Path) -> None:
    runs = []
    for prompts, repeats in ((5, 1), (6, 1), (6, 2), (8, 3)):
        runs.append(begin(tmp_path, prompts, repeats))
        make(runs[-1], most=1)
    for run in runs:
        check_task(run)
    make(runs[1])  # the second one's task ends late
    whole = runs[-1]
    make(whole)
    assert Counter(keys(whole)).most_common(1)[0][1] == 1 and len(keys(whole)) == 24


def test_a_task_of_another_run_is_not(tmp_path: Path) -> None:
    other = begin(tmp_path, 5, 2)  # nothing of it is made
    make(begin(tmp_path, 5, 1), most=1)
    make(begin(tmp_path, 5, 3), most=1)
    with pytest.raises(BadInput, match="samples_per_prompt was 3, is 2"):
        check_task(other)


def test_failures_of_all_repeats_are_tried_again(tmp_path: Path) -> None:
    once = "sample_attempts=1"
    make(begin(tmp_path, 5, 1, once), 1)
    early = begin(tmp_path, 5, 1, once, "retry_failed=true")  # waits while the run grows
    more = begin(tmp_path, 5, 3, once)
    make(more, 7, 12)
    before = tar_hashes(more.directory.path)
    late = begin(tmp_path, 5, 3, once, "retry_failed=true")
    assert late.directory.path == early.directory.path and late.layout.only == (1,)
    check_task(early)
    make(late)
    assert keys(late) == ["00000001_0000"]
    rest = begin(tmp_path, 5, 3, once, "retry_failed=true")
    assert rest.directory.path.name == "retry-2" and rest.layout.only == (7, 12)
    make(rest)
    assert keys(rest) == ["00000001_0001", "00000003_0002"]
    assert tar_hashes(more.directory.path) == before
    assert read_status(more.directory).retried == 3
    export(more.directory.path, tmp_path / "out")
    assert len(samples(tmp_path / "out")) == 15


def test_an_export_takes_the_repeats_of_a_prompt_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(begin(tmp_path, 11, 1))
    more = begin(tmp_path, 11, 3)
    make(more, most=5)
    said = refusal(capsys, more.directory.path, tmp_path / "out")
    assert "is not finished: 1 of 9 shards (2 of 33 samples) are missing" in said
    make(more)
    export(more.directory.path, tmp_path / "out", "split=0.5,0.3,0.2")
    splits: dict[str, set[str]] = {}
    for split in ("train", "validation", "test"):
        for key in samples(tmp_path / "out" / split):
            splits.setdefault(key.partition("_")[0], set()).add(split)
    assert len(splits) == 11 and all(len(names) == 1 for names in splits.values())
    assert {name for names in splits.values() for name in names} == {"train", "validation", "test"}
    export(more.directory.path, tmp_path / "best", "best_of=1", "by=repeat")
    assert sorted(samples(tmp_path / "best")) == [f"{prompt:08d}_0002" for prompt in range(11)]


def test_what_a_calibration_is_made_from_stays(tmp_path: Path) -> None:
    few = begin(tmp_path, 7, 2)
    make(few)
    more = begin(tmp_path, 7, 9)
    assert choose_samples(few.layout, 4) == choose_samples(more.layout, 4)


@pytest.mark.slow
def test_prompts_of_mixed_kinds_audits_and_regenerating(tmp_path: Path) -> None:
    """With the embedded model: what is there is not made again, and the new repeats are what they say."""
    prompts = tmp_path / "p.csv"
    prompts.write_text("prompt,width\na red circle,64\na blue star,96\na green cross,64\n")
    options = ("num_inference_steps=4", "batch_size=2", "algo.w=0.5", "audit_every=3")

    def go_on(repeats: int) -> Run:
        run = opened(prompts, repeats, *options)
        generate_shards(run, run.unfinished(), device="cpu", log_path="log", report=lambda *_: None)
        return run

    few = go_on(1)
    before = tar_hashes(few.directory.path)
    run = go_on(3)
    after = tar_hashes(run.directory.path)
    assert len(after) == 3 and before.items() <= after.items()
    infos = {}
    for path in run.directory.data.glob("*.tar"):
        with tarfile.open(path) as archive:
            for name in archive.getnames():
                if name.endswith(".json"):
                    file = archive.extractfile(name)
                    assert file
                    infos[name.removesuffix(".json")] = json.loads(file.read())
    assert len({info["seed"] for info in infos.values()}) == len(infos) == 9
    assert [infos[f"{prompt:08d}_0002"]["width"] for prompt in range(3)] == [64, 96, 64]
    assert {info["run_id"] for info in infos.values()} == {few.id}
    audited = {one["key"] for one in read_status(run.directory).audits}
    assert audited == {key for key, info in infos.items() if info["sample_index"] % 3 == 0}
    found, _ = find_sample(run, "00000001_0002")
    assert infos[found.key]["sample_index"] == found.index == 6
    again = remake(open_finished(run.directory, {}), ["00000001_0000", "00000001_0002"])
    assert [one.said for one in again] == ["00000001_0000: same bytes", "00000001_0002: same bytes"]
