"""Runs in a store, with a real S3 server: order, kills, twins, other machines, and stores that refuse or garble."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jobs import api
from jobs.base.errors import BadInput
from jobs.report.status import read_status
from jobs.run.open import create, open_run
from jobs.run.run import Run
from jobs.store.mirror import is_published, opened
from tests import warm
from tests.execute.test_kills import work_all
from tests.export.runs import make_shards
from tests.s3 import BUCKET, S3
from tests.support import SMALL, command, config, generate, tar_hashes, write_prompts
from tests.warm.forks import start

STORE = f"s3://{BUCKET}/runs"
KEYS = "runs/run/"


def stored(folder: Path, *more: str, name: str = "here", store: str = STORE, prompts: int = 9) -> Run:
    """A run in the store that works in ``folder/NAME``, with nothing made yet; three samples a shard."""
    options = (f"output_base_path={store}", f"work_path={folder / name}", "exp_name=run")
    file = write_prompts(folder / "prompts.txt", prompts)
    run = open_run(config(*options, f"prompt_file={file}", *SMALL, *more))
    create(run)
    return run


def make(run: Run, *shards: int, fails: dict[int, str] | None = None) -> None:
    """Make shards as a worker does, of pictures that need no model."""
    for shard in shards or run.unfinished():
        make_shards(run, fails or {}, range(shard, shard + 1), lambda sample: 16)


def there(s3: S3, folder: str = "data") -> dict[str, str]:
    """Name -> sha256 of the run's objects in a folder."""
    return {
        name.removeprefix("/"): hashlib.sha256(data).hexdigest()
        for name, data in s3.objects(BUCKET, f"{KEYS}{folder}").items()
    }


def work(environment: dict[str, str], run: Run) -> None:
    """One process at everything that is unfinished, with the embedded model."""
    os.environ.update(environment)
    work_all(run)


def refused(run: Path, *more: str, store: str = STORE) -> str:
    """What a command is refused with."""
    with pytest.raises(BadInput) as caught:
        stored(run, *more, store=store)
    return str(caught.value)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """File name -> sha256 of the tars of a run on a disk: six samples of the embedded model."""
    folder = tmp_path_factory.mktemp("reference")
    run = stored(folder, store=f"file://{folder}/store", prompts=6)
    process = start(work, {}, run)
    process.join()
    assert process.exitcode == 0
    return tar_hashes(folder / "store/run")


@pytest.mark.slow
def test_a_command_leaves_in_the_store_what_it_leaves_on_a_disk(s3, tmp_path, reference) -> None:
    words = (f"prompt_file={write_prompts(tmp_path / 'p.txt', 6)}", f"output_base_path={STORE}", "exp_name=run", *SMALL)
    result = generate(*words, f"work_path={tmp_path}/here")
    assert result.returncode == 0, result.stderr
    assert f"dataset: {STORE}/run/data/*.tar, first samples: {tmp_path}/here/run/preview.png" in result.stdout
    assert there(s3) == reference
    sent = [name.removeprefix(KEYS) for name in s3.puts if not name.endswith(".write-check")]
    assert sent[:2] == ["config.yaml", "run.json"]
    shards = [[f"data/{n:05d}.tar", f"meta/{n:05d}.parquet", f"done/{n:05d}.json"] for n in range(2)]
    assert sent[2:] == [*shards[0], *shards[1]]
    assert {*sent} == {name.removeprefix(KEYS) for name in s3.keys(BUCKET)}  # the check was taken away
    here = tmp_path / "here/run"
    assert f"python -m jobs.report {here} makes it" in result.stdout
    assert not any(here.rglob("*.tar")) and not list(here.glob("work/0*"))
    s3.requests.clear()
    again = generate(*words, f"work_path={tmp_path}/here")
    assert again.returncode == 0 and not [name for name in s3.puts if not name.endswith(".write-check")]
    made = warm.run([sys.executable, "-m", "jobs.regenerate", f"{STORE}/run", "00000004_0000", "--device", "cpu"])
    assert (made.returncode, made.stdout) == (0, "00000004_0000: same bytes\n"), made.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_runs_that_are_killed_at_their_requests_end_in_the_same_bytes(s3, tmp_path, reference) -> None:
    kills, runs = 0, [stored(tmp_path, prompts=6)]
    for kills in s3.deaths(lambda: start(work, s3.environment, runs[-1]), 2):
        found, done = there(s3), there(s3, "done")
        assert all(found[name.replace(".json", ".tar")] == reference[name.replace(".json", ".tar")] for name in done)
        if kills % 3 == 0:  # the next one is another machine
            runs.append(stored(tmp_path, name=f"work{kills}", prompts=6))
    found, done = there(s3), there(s3, "done")
    assert found == reference and len(done) == 2 and kills >= 6
    assert not list(runs[-1].directory.work.glob("0*"))


@pytest.mark.slow
def test_twins_on_two_machines_publish_the_same_bytes(s3, tmp_path, reference) -> None:
    """Both have made the first shard before either may send it."""
    first = threading.Barrier(2, timeout=120)

    def together(method: str, path: str) -> None:
        if method == "PUT" and path.endswith("data/00000.tar"):
            first.wait()

    s3.before = together
    both = [start(work, s3.environment, stored(tmp_path, name=name, prompts=6)) for name in ("a", "b")]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert there(s3) == reference and len(there(s3, "done")) == 2
    assert s3.puts.count(f"{KEYS}data/00000.tar") == 2


def test_another_machine_does_only_what_is_missing(s3, tmp_path) -> None:
    make(stored(tmp_path), 0, 2)
    s3.requests.clear()
    other = stored(tmp_path, name="other")
    assert other.unfinished() == [1]
    make(other)
    assert [name for name in s3.puts if name.endswith((".tar", ".json"))] == [
        f"{KEYS}data/00001.tar",
        f"{KEYS}done/00001.json",
    ]
    assert stored(tmp_path).unfinished() == []  # the first one learns of it


def test_what_another_machine_publishes_meanwhile_is_not_made_again(s3, tmp_path) -> None:
    one, other = stored(tmp_path, name="one"), stored(tmp_path, name="other")
    make(one, 1, fails={3: "ValueError: no", 4: "ValueError: no"})
    assert not other.directory.is_done(1)
    assert is_published(other.directory, 1) and other.directory.is_done(1)
    assert len(read_status(other.directory).failures) == 2  # with their reasons


def test_another_run_is_refused_wherever_its_work_lies(s3, tmp_path) -> None:
    make(stored(tmp_path), 0)
    for name in ("here", "other"):
        with pytest.raises(BadInput, match=f"{STORE}/run holds another run: seed was 0, is 7: set these back"):
            stored(tmp_path, "seed=7", name=name)
    with pytest.raises(BadInput, match=r"here/run works for .*, not for s3://bucket/elsewhere/run: choose another"):
        stored(tmp_path, store=f"s3://{BUCKET}/elsewhere")
    said = warm.run(command(f"output_base_path={tmp_path}/here", "exp_name=run"))
    assert said.returncode == 2 and f"add output_base_path={STORE} and work_path={tmp_path}/here" in said.stderr


def test_a_directory_of_a_run_on_the_disk_is_not_taken(s3, tmp_path) -> None:
    file = write_prompts(tmp_path / "prompts.txt", 9)
    create(open_run(config(f"output_base_path={tmp_path}/here", "exp_name=run", f"prompt_file={file}", *SMALL)))
    assert "here/run holds a run of its own, not for" in refused(tmp_path)
    assert not s3.keys(BUCKET)


def test_what_is_lost_in_the_store_is_told(s3, tmp_path) -> None:
    make(stored(tmp_path))
    s3.client().delete_object(Bucket=BUCKET, Key=f"{KEYS}data/00001.tar")
    assert f"{STORE}/run/data/00001.tar is missing although {STORE}/run/done/00001.json says" in refused(tmp_path)
    s3.client().delete_object(Bucket=BUCKET, Key=f"{KEYS}done/00001.json")
    run = stored(tmp_path)
    assert run.unfinished() == [1]
    s3.client().delete_object(Bucket=BUCKET, Key=f"{KEYS}run.json")
    assert f"{STORE}/run has no run.json any more, and {tmp_path}/here/run worked for it" in refused(tmp_path)


def test_a_run_that_grows_takes_its_samples_from_the_store(s3, tmp_path) -> None:
    """Also on another machine; the last shard has two samples at first."""
    make(stored(tmp_path, "total_prompt_num=5"))
    for name, count in (("here", 7), ("other", 9)):
        run = stored(tmp_path, f"total_prompt_num={count}", name=name)
        assert len(run.unfinished()) == 2 - (count == 9)
        make(run)
        assert not any(run.directory.path.rglob("*.tar"))
    whole = stored(tmp_path, name="whole", store=f"file://{tmp_path}/mounted")
    make(whole)
    assert there(s3) == tar_hashes(tmp_path / "mounted/run")
    assert read_status(stored(tmp_path).directory).samples_done == 9
    twice = stored(tmp_path, "samples_per_prompt=2")
    make(twice)
    assert read_status(twice.directory).samples_done == 18


def test_a_pass_over_failed_samples_is_in_the_store_too(s3, tmp_path) -> None:
    run = stored(tmp_path, "sample_attempts=1")
    make(run, fails={4: "ValueError: no"})
    again = stored(tmp_path, "sample_attempts=1", "retry_failed=true", name="other")
    make(again)
    assert f"{KEYS}retry-1/done/00000.json" in s3.keys(BUCKET)
    with opened(f"{STORE}/run") as found:
        status = read_status(found)
        assert (status.done, status.samples_failed, status.retried) == (3, 1, 1)
        assert status.failures[0]["log"] == f"{STORE}/run/meta/00001.parquet"
    with pytest.raises(BadInput, match="or all were made since"):
        stored(tmp_path, "sample_attempts=1", "retry_failed=true", name="third")


def test_the_first_calibration_is_the_runs(s3, tmp_path) -> None:
    one, other = (stored(tmp_path, name=name).directory for name in ("one", "other"))
    assert one.create_calibration(b"first") == b"first" == other.create_calibration(b"second")
    one.pin_calibration("digest", {})
    assert stored(tmp_path, name="other").directory.read()["calibration"] == "digest"
    assert other.calibration.read_bytes() == b"first"


def test_a_shard_is_sent_while_the_next_one_is_made(s3, tmp_path) -> None:
    """The server takes the first tar when the second one is complete."""
    run, written = stored(tmp_path, "total_prompt_num=6"), threading.Event()

    def wait(method: str, path: str) -> None:
        if method == "PUT" and path.endswith("data/00000.tar"):
            assert written.wait(60)

    def report(event: str, shard: int, detail: str) -> None:
        if (event, shard, detail) == ("sample", 1, "00000005_0000"):
            written.set()

    s3.before = wait
    make_shards(run, {}, range(2), lambda sample: 16, report=report)
    assert written.is_set() and len(there(s3, "done")) == 2


def test_what_the_store_garbles_is_sent_again(s3, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("jobs.store.patience._WAITS", (0,))
    run = stored(tmp_path)

    def once(path: str, data: bytes) -> bytes:
        return data[:-1] + b"x" if s3.puts.count(path.split("/", 2)[2]) == 1 else data

    s3.garble = once
    make(run, 0)
    names = ("data/00000.tar", "meta/00000.parquet", "done/00000.json")
    assert {s3.puts.count(f"{KEYS}{name}") for name in names} == {2}
    assert there(s3)["00000.tar"] == json.loads(run.directory.done_record(0).read_text())["sha256"]


@pytest.mark.slow
def test_a_store_that_asks_to_slow_down_is_asked_again(s3, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # those that wait longest are not what is tried
    asked: dict[tuple[str, str], int] = {}

    def once(method: str, path: str) -> bool:
        asked[method, path] = asked.get((method, path), 0) + 1
        return asked[method, path] == 1

    s3.before = once
    make(stored(tmp_path), 0)
    assert len(there(s3, "done")) == 1


def test_a_store_that_stays_away_loses_nothing(s3, tmp_path, monkeypatch) -> None:
    """The shard in hand is whole on this disk, and the next command has nothing to make."""
    monkeypatch.setattr("jobs.store.patience._WAITS", ())
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    run, events = stored(tmp_path), []
    s3.before = lambda method, path: method == "PUT" and path.endswith(".tar")
    with pytest.raises(BadInput, match=r"could not take data/00000.tar .*the same command again, which goes on"):
        make(run, 0)
    assert there(s3, "done") == {}
    s3.before = lambda method, path: None
    assert stored(tmp_path).unfinished() == [0, 1, 2]
    partials = list(run.directory.work.glob("00000.*.tar"))
    assert len(partials) == 1 and partials[0].stat().st_size
    make_shards(run, {}, range(1), lambda sample: 16, report=lambda *event: events.append(event))
    assert {event for event, *_ in events} == {"inherited", "done"} and len(there(s3, "done")) == 1


def test_a_bucket_that_may_not_be_written_is_told_at_once(s3, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("jobs.store.patience._WAITS", ())
    s3.forbid = lambda method: method == "PUT"
    said = refused(tmp_path, "dry_run=true")
    assert f"{STORE}/run could not be written (PermissionError: " in said
    assert not s3.keys(BUCKET) and not (tmp_path / "here").exists()


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("s3://nobody/runs", "s3://nobody/runs/run: there is no bucket nobody, or it is not yours: make it first"),
        ("s3://", "output_base_path must be an address like s3://bucket/folder"),
        ("ftp://host/runs", "output_base_path must be an address like s3://bucket/folder"),
    ],
)
def test_addresses_that_cannot_be_are_refused(s3, tmp_path, store, said) -> None:
    assert said in refused(tmp_path, "dry_run=true", store=store)
    assert not (tmp_path / "here").exists()


def test_credentials_and_libraries_that_are_missing_are_told(s3, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    assert "needs gcsfs: pip install gcsfs" in refused(tmp_path, store="gs://bucket/runs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "Unable to locate credentials" in refused(tmp_path)


def test_a_place_to_work_is_for_runs_in_a_store(tmp_path) -> None:
    with pytest.raises(BadInput, match="work_path=/elsewhere is for runs in a store"):
        open_run(config(f"output_base_path={tmp_path}", "work_path=/elsewhere"))


def test_a_dry_run_leaves_nothing_here_or_there(s3, tmp_path) -> None:
    file = write_prompts(tmp_path / "prompts.txt", 3)
    options = (f"output_base_path={STORE}", f"work_path={tmp_path}/here", f"prompt_file={file}")
    open_run(config(*options, *SMALL, "dry_run=true"))
    assert not s3.keys(BUCKET) and not (tmp_path / "here").exists()


@pytest.mark.slow
def test_commands_that_look_at_a_run_take_its_address_or_say_what_they_take(s3, tmp_path) -> None:
    make(stored(tmp_path), 0, 1)
    address = f"{STORE}/run"

    def say(module: str, *words: str) -> "subprocess.CompletedProcess[str]":
        return warm.run(command(*words, module=module))

    found = say("jobs.status", address)
    assert found.returncode == 1 and f"{address}: 6 of 9 samples, 2 of 3 shards done" in found.stdout
    assert "report.html" in say("jobs.report", f"{tmp_path}/here/run").stdout
    page = (tmp_path / "here/run/report.html").read_text()
    assert '"count":6' in page and '"trouble":{}' in page
    assert f"{address}: 6 of 9" in say("jobs.status", f"{tmp_path}/here/run").stdout
    assert "nothing is not a run" in say("jobs.status", f"{STORE}/nothing").stderr
    for module in ("jobs.logs", "jobs.cancel", "jobs.report"):
        said = say(module, address)
        assert said.returncode == 2 and "name the directory where the run works" in said.stderr
    assert api.status(address).done == api.status(tmp_path / "here/run").done == 2


def test_a_copy_of_the_store_is_a_run_on_a_disk(s3, tmp_path) -> None:
    make(stored(tmp_path), 0)
    for key, data in s3.objects(BUCKET, KEYS).items():
        path = tmp_path / "copy/run" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    shutil.rmtree(tmp_path / "here")
    file = tmp_path / "prompts.txt"
    run = open_run(config(f"output_base_path={tmp_path}/copy", "exp_name=run", f"prompt_file={file}", *SMALL))
    create(run)
    assert run.unfinished() == [1, 2]
    make(run)
    assert len(tar_hashes(tmp_path / "copy/run")) == 3


def test_a_mounted_file_system_is_a_store_too(tmp_path) -> None:
    run = stored(tmp_path, store=f"file://{tmp_path}/mounted")
    make(run)
    assert sorted(path.name for path in (tmp_path / "mounted/run/data").iterdir()) == [f"0000{n}.tar" for n in range(3)]
    assert not any(run.directory.path.rglob("*.tar"))


def test_a_file_system_that_is_not_mounted_on_a_machine_is_not_written(tmp_path) -> None:
    run = stored(tmp_path, store=f"file://{tmp_path}/mounted")
    shutil.rmtree(tmp_path / "mounted")
    with pytest.raises(BadInput, match=r"has no run.json here: see that it is the same place on every machine"):
        make(run, 0)
    assert not (tmp_path / "mounted").exists() and len(list(run.directory.work.glob("0*.tar"))) == 1


def test_a_store_that_is_where_the_run_works_is_refused(tmp_path) -> None:
    """It would remove there what it has just put there."""
    (tmp_path / "link").symlink_to(tmp_path / "here")
    for folder in ("here", "link", "here/run"):
        assert "choose another work_path" in refused(tmp_path, store=f"file://{tmp_path}/{folder}")


def test_a_bucket_that_goes_away_is_told(s3, tmp_path) -> None:
    run = stored(tmp_path)
    client = s3.client()
    for key in s3.keys(BUCKET):
        client.delete_object(Bucket=BUCKET, Key=key)
    client.delete_bucket(Bucket=BUCKET)
    try:
        with pytest.raises(BadInput, match=r"has no run.json here: see that it is the same place"):
            make(run, 0)
    finally:
        client.create_bucket(Bucket=BUCKET)
