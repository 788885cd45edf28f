"""Exports of runs that are in a store: a real S3 server, kills between requests, and what the store has lost."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import api
from jobs.run.run import Run
from tests.execute.test_store import KEYS, STORE, make, stored
from tests.export.test_export import WEB, export, files, refusal
from tests.export.test_store import attempt
from tests.s3 import BUCKET, S3
from tests.warm.forks import start

ADDRESS = f"{STORE}/run"
OPTIONS = ("split=0.5,0.5", "shard_mb=0.002")


@pytest.fixture
def run(s3: S3, tmp_path: Path) -> Run:
    """Nine samples in three shards, one of which was given up."""
    run = stored(tmp_path)
    make(run, fails={4: "ValueError: no"})
    return run


@pytest.fixture
def copied(run: Run, s3: S3, tmp_path: Path) -> Path:
    """A copy of the store's folder, a run on a disk."""
    for name, data in s3.objects(BUCKET, KEYS).items():
        path = tmp_path / "copy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "copy"


@pytest.mark.parametrize("options", [OPTIONS, ("shard_mb=0",), ("format=imagefolder",)], ids=" ".join)
def test_it_is_as_of_a_copy_and_leaves_nothing_beside(options, run, copied, s3, tmp_path, capsys) -> None:
    export(copied, tmp_path / "of-copy", *options)
    s3.requests.clear()
    export(ADDRESS, tmp_path / "out", *options)
    assert "fetched 3 shards" in capsys.readouterr().out
    assert files(tmp_path / "out") == files(tmp_path / "of-copy")
    assert not s3.puts and not (tmp_path / "out.partial").exists()
    assert not list(run.directory.data.glob("*.tar")), "they stay in the store"


def test_the_function_takes_an_address_too(run, copied, s3, tmp_path) -> None:
    options = api.ExportOptions(license="cc0-1.0", energon=False)
    api.export(copied, tmp_path / "of-copy", options)
    assert api.export([ADDRESS], tmp_path / "out", options) == tmp_path / "out"
    assert files(tmp_path / "out") == files(tmp_path / "of-copy")


def test_the_directory_where_it_works_does_too_and_hears_of_other_machines(run, copied, s3, tmp_path) -> None:
    export(copied, tmp_path / "of-copy", *OPTIONS)
    other = stored(tmp_path, name="another").directory.path  # whatever it knew, it asks the store
    shutil.rmtree(other / "done")
    export(other, tmp_path / "out", *OPTIONS)
    assert files(tmp_path / "out") == files(tmp_path / "of-copy")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_its_requests_it_goes_on(run, copied, s3, tmp_path) -> None:
    export(copied, tmp_path / "of-copy", *OPTIONS)
    again = [ADDRESS], tmp_path / "out", [*OPTIONS, *WEB]
    kills = len([*s3.deaths(lambda: start(attempt, s3.environment, *again), 2)])
    assert kills >= 5 and files(tmp_path / "out") == files(tmp_path / "of-copy")
    assert not (tmp_path / "out.partial").exists()


def test_what_the_store_has_lost_or_changed_is_told(run, s3, tmp_path, capsys) -> None:
    client, tar = s3.client(), f"{KEYS}data/00001.tar"
    whole = client.get_object(Bucket=BUCKET, Key=tar)["Body"].read()
    client.put_object(Bucket=BUCKET, Key=tar, Body=bytes(len(whole)))
    said = refusal(capsys, ADDRESS, tmp_path / "out")
    assert f"{ADDRESS}/data/00001.tar has other bytes than its run recorded: restore it, or delete" in said
    client.delete_object(Bucket=BUCKET, Key=tar)
    assert f"{ADDRESS}/data/00001.tar is missing although" in refusal(capsys, ADDRESS, tmp_path / "out")
    client.put_object(Bucket=BUCKET, Key=tar, Body=whole)
    export(ADDRESS, tmp_path / "out")

    client.delete_object(Bucket=BUCKET, Key=f"{KEYS}done/00002.json")
    said = refusal(capsys, ADDRESS, tmp_path / "less")
    assert said.startswith(f"error: {ADDRESS} is not finished: 1 of 3 shards (3 of 9 samples) are missing")
    export(ADDRESS, tmp_path / "less", "partial=true")


def test_an_address_without_a_run_is_refused_before_anything_is_made(s3, tmp_path, capsys) -> None:
    said = refusal(capsys, f"s3://{BUCKET}/nothing", tmp_path / "out")
    assert said == f"error: s3://{BUCKET}/nothing is not a run: it has no run.json\n"
    assert not list(tmp_path.iterdir())


def test_runs_of_one_name_with_passes_over_failed_samples_are_told_apart(s3, tmp_path, capsys) -> None:
    stores = [f"{STORE}-{number}" for number in range(2)]
    for number, store in enumerate(stores):
        own, one = (f"seed={number}", "sample_attempts=1"), {"name": f"here-{number}", "store": store}
        make(stored(tmp_path, *own, **one), fails={4: "ValueError: no", 7: "ValueError: no"})
        make(stored(tmp_path, *own, "retry_failed=true", **one), fails={4: "ValueError: no"})
    addresses = [f"{store}/run" for store in stores]
    export(*addresses, tmp_path / "out")
    assert "fetched 8 shards" in capsys.readouterr().out
    rows = pq.read_table(tmp_path / "out/metadata.parquet").to_pylist()
    assert sorted(row["status"] for row in rows) == ["failed"] * 2 + ["ok"] * 16
