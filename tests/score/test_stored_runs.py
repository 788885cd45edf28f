"""Scores of runs that are in a store: a real S3 server, kills between requests, other machines, refusals."""

import hashlib
import os
import shutil
from multiprocessing.process import BaseProcess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import api
from jobs.base.errors import BadInput
from jobs.execute.batch import Blameless
from jobs.options.score import parse_score
from jobs.report.status import read_status
from jobs.run.run import Run
from jobs.score.across import NearDuplicates, open_other
from jobs.score.command import _scorings, _where
from jobs.store.mirror_scores import working
from jobs.store.rundir import RunDir
from jobs.store.scores import ScoreDir
from tests import warm
from tests.execute.test_store import KEYS, STORE, make, stored
from tests.export.test_export import export
from tests.s3 import BUCKET, S3
from tests.score.scored import refusal, work
from tests.support import command
from tests.warm.forks import start

ADDRESS = f"{STORE}/run"
BOTH = ("scorers=[basic,near_duplicates]", "batch_size=2")


@pytest.fixture
def run(s3: S3, tmp_path: Path) -> Run:
    """Nine samples in three shards, one of which was given up."""
    run = stored(tmp_path)
    make(run, fails={4: "ValueError: no"})
    return run


def score(place: str, work_path: Path, *words: str) -> bool:
    """Score as the command does, in this process; return whether all is scored."""
    _, options, elsewhere = parse_score([*(words or BOTH), "device=cpu"])
    run = working(place, work_path)
    other = open_other(options.against, run, work_path)
    found = _scorings(run, other, options, _where(elsewhere, launch=False))
    for one in found:
        one.create()
        work(one)
    duplicates = "near_duplicates" not in options.names or NearDuplicates.of(run, other, 4).find(lambda said: None)
    return duplicates and not any(one.unfinished() for one in found)


def in_hand(folder: Path) -> list[Path]:
    """Files of attempts that nobody has cleared away."""
    return [path for path in folder.rglob("0*") if path.parent.name == "work"]


def attempt(environment: dict[str, str], work_path: Path) -> None:
    """The same in a process that may be killed."""
    os.environ.update(environment)
    assert score(ADDRESS, work_path)


def tables(s3: S3) -> dict[str, str]:
    """Name -> sha256 of all tables of scores in the store."""
    objects = s3.objects(BUCKET, f"{KEYS}scores/")
    return {name: hashlib.sha256(data).hexdigest() for name, data in objects.items() if name.endswith(".parquet")}


def of_copy(s3: S3, folder: Path, *words: str) -> dict[str, str]:
    """Name -> sha256 of the tables that a run on a disk gets, a copy of the store's folder."""
    for name, data in s3.objects(BUCKET, KEYS).items():
        if not name.startswith("scores/"):
            path = folder / "run" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    assert score(str(folder / "run"), folder, *words)
    top = folder / "run/scores"
    return {str(one.relative_to(top)): hashlib.sha256(one.read_bytes()).hexdigest() for one in top.rglob("*.parquet")}


@pytest.mark.slow
def test_a_command_leaves_in_the_store_what_it_leaves_on_a_disk_and_exports_use_it(run, s3, tmp_path) -> None:
    work_path = f"work_path={tmp_path}/elsewhere"
    words = command(ADDRESS, *BOTH, work_path, "device=cpu", "ngpu=2", module="jobs.score")
    before, here = s3.objects(BUCKET, KEYS), tmp_path / "elsewhere/run"
    done = warm.run(words, env=dict(os.environ), timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{ADDRESS}/scores/basic: 8 of 9 samples, 3 of 3 shards done" in done.stdout
    assert tables(s3) == of_copy(s3, tmp_path / "copy") and len(tables(s3)) == 6
    assert {name: data for name, data in s3.objects(BUCKET, KEYS).items() if name in before} == before
    assert not any(here.rglob("*.tar")) and not in_hand(here)
    s3.requests.clear()
    assert warm.run(words, env=dict(os.environ), timeout=240).returncode == 0
    assert not s3.puts, "the same again has nothing to do"

    where = "where=sharpness > 1 and near_duplicate_of is null"
    for place, name in ((ADDRESS, "of-store"), (tmp_path / "copy/run", "of-copy"), (run.directory.path, "of-work")):
        export(place, tmp_path / name, where)
    exports = [tmp_path / name / "metadata.parquet" for name in ("of-store", "of-copy", "of-work")]
    assert len({path.read_bytes() for path in exports}) == 1
    rows = pq.read_table(exports[0]).to_pylist()
    assert len(rows) == 9 and sum(row["sharpness"] is not None for row in rows) == 8
    said = warm.run(command(f"{ADDRESS}/scores/basic", module="jobs.status"))
    assert said.returncode == 0 and "8 of 9 samples, 3 of 3 shards done" in said.stdout


def test_each_table_is_there_before_its_done_record_and_the_tar_is_read_once(run, s3, tmp_path) -> None:
    s3.requests.clear()
    assert score(ADDRESS, tmp_path / "elsewhere", "scorers=basic")
    own = [name.removeprefix(f"{KEYS}scores/basic/") for name in s3.puts]
    assert own == [
        "run.json",
        *(f"{kind}/{n:05d}.{end}" for n in range(3) for kind, end in (("meta", "parquet"), ("done", "json"))),
    ]
    gets = [path for method, path in s3.requests if method == "GET" and path.endswith(".tar")]
    assert len(gets) == len({*gets}) == 3


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("machines", [1, 3])
def test_scorings_that_are_killed_at_their_requests_end_in_the_same_bytes(run, s3, tmp_path, machines) -> None:
    """Of three machines, each with a working directory of its own, another one goes on after every kill."""
    reference, kills = of_copy(s3, tmp_path / "copy"), 0

    def begin() -> BaseProcess:
        return start(attempt, s3.environment, tmp_path / f"work{kills % machines}")

    for kills in s3.deaths(begin, 2):  # noqa: B007
        found = s3.objects(BUCKET, f"{KEYS}scores/")
        for done in (name for name in found if "/done/" in name):
            table = done.replace("/done/", "/meta/").replace(".json", ".parquet")
            assert hashlib.sha256(found[table]).hexdigest() == reference[table]
    assert kills >= 10 and tables(s3) == reference
    shutil.rmtree(tmp_path / "work0")
    s3.requests.clear()
    assert score(ADDRESS, tmp_path / "fresh") and not s3.puts
    assert not in_hand(tmp_path) or machines > 1


@pytest.mark.slow
def test_a_store_that_asks_to_slow_down_is_asked_again(run, s3, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    asked: dict[tuple[str, str], int] = {}

    def once(method: str, path: str) -> bool:
        asked[method, path] = asked.get((method, path), 0) + 1
        return asked[method, path] == 1

    s3.before = once
    assert score(ADDRESS, tmp_path / "elsewhere")
    s3.before = lambda method, path: None
    assert tables(s3) == of_copy(s3, tmp_path / "copy")


@pytest.mark.slow
def test_a_store_that_goes_away_ends_the_process_and_gives_no_sample_up(run, s3, tmp_path, monkeypatch) -> None:
    """Neither where the tars are not to be had, nor where those of the run that is compared with are not."""
    monkeypatch.setattr("jobs.store.patience._WAITS", ())
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    other = stored(tmp_path, "seed=7", name="steps", store=f"{STORE}/steps")
    make(other)
    words = (f"against={tmp_path}/steps/run", "scorers=fidelity", "sample_attempts=1")
    for gone in ("/steps/run/data/", "/runs/run/data/"):
        s3.before = lambda method, path, gone=gone: gone in path
        with pytest.raises(Blameless, match=r"could not be read .*the same command again, which goes on"):
            score(ADDRESS, tmp_path / "here", *words)
    s3.before = lambda method, path: None
    assert score(ADDRESS, tmp_path / "here", *words)
    rows = [row for shard in range(3) for row in ScoreDir(run.directory, "fidelity").table(shard).to_pylist()]
    assert len(rows) == 8 and all(row["psnr"] > 0 for row in rows)


def test_duplicates_are_found_against_another_run_in_a_store(run, s3, tmp_path, capsys) -> None:
    """Two runs of the same seeds have the same pictures."""
    other, work_path = f"{STORE}/two", tmp_path / "work"
    make(stored(tmp_path, "exp_name=two"))
    for place in (other, tmp_path / "here/two"):
        said = refusal(capsys, ADDRESS, f"against={place}", f"work_path={work_path}")
        assert f"against={other} is not scored whole by basic" in said
    assert score(other, tmp_path / "elsewhere", "scorers=basic") and score(
        ADDRESS, work_path, *BOTH, f"against={other}"
    )
    (tmp_path / "table").write_bytes(s3.objects(BUCKET, f"{KEYS}scores/near_duplicates/meta/00000.parquet")[""])
    found = pq.read_table(tmp_path / "table")["near_duplicate_of"].to_pylist()
    assert found == [f"two:{number:08d}_0000" for number in range(3)]


def test_what_another_machine_has_scored_anew_is_what_counts(run, s3, tmp_path) -> None:
    """Tables of other scores may have the size of those here."""
    assert score(ADDRESS, tmp_path / "one")
    old = tables(s3)
    for key in s3.keys(BUCKET, f"{KEYS}scores/basic/"):
        s3.client().delete_object(Bucket=BUCKET, Key=key)
    assert not ScoreDir(working(ADDRESS, tmp_path / "two"), "basic").exists()
    assert score(ADDRESS, tmp_path / "two", "scorers=basic") and tables(s3) == old
    one = tmp_path / "one/run/scores/basic"
    (one / "meta/00001.parquet").write_bytes(bytes((one / "meta/00001.parquet").stat().st_size))
    assert ScoreDir(working(ADDRESS, tmp_path / "one"), "basic").table(1).num_rows == 2


@pytest.mark.slow
def test_a_run_that_grows_and_a_pass_over_failed_samples_are_scored_too(s3, tmp_path) -> None:
    make(stored(tmp_path, "total_prompt_num=5", "sample_attempts=1"), fails={4: "ValueError: no"})
    assert score(ADDRESS, tmp_path / "elsewhere")
    make(stored(tmp_path, "total_prompt_num=9", "sample_attempts=1"), fails={4: "ValueError: no"})
    make(stored(tmp_path, "sample_attempts=1", "retry_failed=true"))
    assert score(ADDRESS, tmp_path / "elsewhere")
    found = tables(s3)
    assert found == of_copy(s3, tmp_path / "copy") and "basic.retry-1/meta/00000.parquet" in found
    export(ADDRESS, tmp_path / "out", "where=sharpness > 1")
    assert all(row["sharpness"] for row in pq.read_table(tmp_path / "out/metadata.parquet").to_pylist() if row["file"])


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (f"s3://{BUCKET}/nothing", f"s3://{BUCKET}/nothing is not a run: it has no run.json"),
        (STORE, f"{STORE} is not a run: it has no run.json"),
        (f"{ADDRESS}/data", f"{ADDRESS}/data is not a run: it has no run.json"),
        ("s3://nobody/run", "s3://nobody/run is not a run: it has no run.json"),
        ("s3://", "the run must be an address like s3://bucket/folder"),
        ("ftp://host/run", "the run must be an address like s3://bucket/folder"),
    ],
)
def test_an_address_that_is_no_run_is_one_sentence(run, s3, tmp_path, capsys, place, said) -> None:
    assert said in refusal(capsys, place, f"work_path={tmp_path}/elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_what_may_not_be_read_or_written_is_told_before_anything_is_scored(
    run, s3, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("jobs.store.patience._WAITS", ())
    before, words = s3.keys(BUCKET), (ADDRESS, "scorers=basic", f"work_path={tmp_path}/elsewhere")
    s3.forbid = lambda method: method == "GET"
    assert f"{ADDRESS} could not be listed (PermissionError: " in refusal(capsys, *words)
    s3.forbid = lambda method: method == "PUT"
    assert f"{ADDRESS} could not be written (PermissionError: " in refusal(capsys, *words)
    s3.forbid = lambda method: False
    assert s3.keys(BUCKET) == before and not (tmp_path / "elsewhere/run/scores").exists()
    said = refusal(capsys, run.directory.path, "scorers=basic", "work_path=/nowhere")
    assert "work_path=/nowhere is for the address of a run in a store: leave it out" in said


def test_a_directory_of_another_run_or_the_store_itself_is_not_taken(tmp_path, capsys) -> None:
    mounted = f"file://{tmp_path}/mounted"
    make(stored(tmp_path, store=mounted))
    said = refusal(capsys, f"{mounted}/run", f"work_path={tmp_path}/mounted")
    assert "choose another work_path" in said and len(list((tmp_path / "mounted/run/data").iterdir())) == 3
    make(stored(tmp_path, "exp_name=run", name="other", store=f"file://{tmp_path}/elsewhere"))
    said = refusal(capsys, f"{mounted}/run", f"work_path={tmp_path}/other")
    assert f"other/run works for file://{tmp_path}/elsewhere/run, not for {mounted}/run: choose another" in said
    RunDir(tmp_path / "own/run").make_folders()
    (tmp_path / "own/run/run.json").write_text("{}")
    said = refusal(capsys, f"{mounted}/run", f"work_path={tmp_path}/own")
    assert "own/run holds a run of its own, not for" in said


def test_the_directory_where_it_works_does_too_also_on_a_mounted_file_system(tmp_path) -> None:
    run = stored(tmp_path, store=f"file://{tmp_path}/mounted").directory
    make(stored(tmp_path, store=f"file://{tmp_path}/mounted"))
    assert score(str(run.path), tmp_path)
    there, here = (folder / "run/scores" for folder in (tmp_path / "mounted", tmp_path / "here"))
    for scorer in ("basic", "near_duplicates"):
        names = {str(path.relative_to(there / scorer)) for path in (there / scorer).rglob("*.*")}
        tables = {f"{kind}/{n:05d}.{end}" for n in range(3) for kind, end in (("meta", "parquet"), ("done", "json"))}
        assert names == {"run.json", *tables}
        assert all((here / scorer / name).read_bytes() == (there / scorer / name).read_bytes() for name in names)
    found = RunDir(here / "basic")
    assert found.name == f"file://{there}/basic" and read_status(found).done == 3
    shutil.rmtree(tmp_path / "mounted")
    with pytest.raises(BadInput, match=r"has no run.json any more"):
        score(str(run.path), tmp_path)


@pytest.mark.slow
def test_the_function_takes_an_address_too(run, s3, tmp_path) -> None:
    changes = {"work_path": str(tmp_path / "elsewhere"), "device": "cpu"}
    assert api.score(ADDRESS, api.ScoreOptions(scorers="basic"), changes=changes) == tmp_path / "elsewhere/run"
    assert len(tables(s3)) == 3
    with pytest.raises(BadInput, match="is not a run"):
        api.score(f"{STORE}/nothing", changes=changes)
