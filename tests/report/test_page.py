"""The report without a browser: which samples it shows, what it says of them, and that it never hurts its run."""

import base64
import gzip
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jobs.report.page.build import NAME, make_report
from jobs.report.page.choose import finished_shards, shares, spread
from jobs.report.page.columns import TEXT, make_table
from jobs.report.page.facts import over_time, stretches_of
from jobs.report.page.samples import read_entries
from jobs.report.page.thumbnails import clip_thumbnail
from jobs.report.summary import conclude
from jobs.run.open import create
from jobs.run.retry import retried
from jobs.run.run import Run
from jobs.store.attempt import Attempt
from tests.export.runs import finished_run, lines, make_shards
from tests.score.scored import rows, scorings, work
from tests.support import small_disk


def block(page: str, name: str) -> Any:
    """What the page holds for its script."""
    match = re.search(f'<script type="[a-z/]+" id="{name}">(.*?)</script>', page, re.DOTALL)
    assert match
    return match[1] if name.startswith(("thumbnails", "infos")) else json.loads(match[1])


def read(run: Run) -> str:
    return (run.directory.path / NAME).read_text()


def test_places_are_spread_evenly_but_in_no_step_with_the_order_of_prompts():
    assert spread(5, 9) == range(5)
    chosen = spread(1_000_000, 10_000)
    assert len(chosen) == 10_000 and [place // 100 for place in chosen] == [*range(10_000)]
    for repeats in (2, 4, 10):  # a hundredth of each kind, where every hundredth sample would be of one kind
        kinds = [sum(place % repeats == kind for place in chosen) for kind in range(repeats)]
        assert min(kinds) > 0.9 * 10_000 / repeats
    parts = shares([3, 0, 500, 7], 100)
    assert sum(map(len, parts)) == 100 and parts[1] == [] and max(parts[2]) < 500 and len(parts[2]) >= 97


def test_values_become_numbers_only_where_that_loses_nothing():
    rows: list[dict[str, Any]] = [
        {"score": 1.5, "big": 2**60, "odd": 1, "list": [1], "flag": True, "long": "x" * 5000, "same": 7, "some": 1},
        {"score": float("nan"), "big": 1, "odd": "one", "list": {"a": None}, "flag": None, "same": 7},
        {"score": None, "big": 2, "odd": True, "list": "é", "flag": False, "same": 7, "some": 1},
    ]
    rows = [{"key": key, "status": "ok", **row} for key, row in zip("abc", rows, strict=True)]
    rows.append({"key": "d", "status": "failed", "reason": "none"})
    table = make_table(rows)
    found = {one["name"]: [one["values"][place] for place in one.get("places", range(4))] for one in table.columns}
    assert table.alike == {"same": 7}
    assert {one["name"] for one in table.columns if one["numbers"]} == {"score", "some"}
    assert found["score"] == [1.5, None, None, None] and found["some"] == [1, None, 1, None]
    assert found["big"] == [str(2**60), "1", "2", None] and found["odd"] == ["1", "one", "true", None]
    assert found["list"] == ["[1]", '{"a": null}', "é", None] and found["flag"] == ["true", None, "false", None]
    assert len(found["long"][0]) == TEXT + 1


def test_speed_is_over_the_time_that_samples_took_also_when_a_run_paused():
    told = over_time([(100.0, 110.0, 10), (200.0, 220.0, 40)], created=100.0)
    assert told["last"] == 220 and told["made"][0] == 0 and told["made"][-1] == 50
    at = [120 * part / (len(told["made"]) - 1) for part in range(len(told["made"]))]
    assert [made for when, made in zip(at, told["made"], strict=True) if 10 <= when <= 100] == [10] * 15
    assert over_time([], created=1.0)["made"] == []
    assert over_time([(5.0, 5.0, 3)], created=9.0)["made"][-1] == 3  # clocks of machines differ


def test_samples_carry_their_json_thumbnail_place_and_every_number_known_of_them(tmp_path: Path):
    prompts = "\n".join(
        json.dumps({"prompt": f"shape {number}", "beauty": number / 2, "set": "a"}) for number in range(12)
    )
    audits = {0: {"key": "00000000_0000", "psnr": 31.5, "ssim": 0.9, "floor": 30.0}}
    run = finished_run(tmp_path, prompts, fails={7: "all of one colour"}, audits=audits, size=lambda sample: 300)
    make_report(run.directory)
    page = read(run)
    samples, told = block(page, "samples"), block(page, "facts")
    columns = {
        one["name"]: [one["values"][place] for place in one.get("places", range(12))] for one in samples["columns"]
    }
    numbers = {one["name"] for one in samples["columns"] if one["numbers"]}
    assert {"metadata.beauty", "audit_psnr", "bytes", "seconds"} <= numbers | samples["alike"].keys()
    assert columns["metadata.beauty"][3] == 1.5 and columns["metadata.beauty"][7] is None
    assert columns["status"][7] == "failed" and columns["reason"][7] == "all of one colour"
    assert columns["audit_psnr"][0] == 31.5 and told["audits"]["psnr"]["worst"] == 31.5
    assert told["shown"] == {"made": 11, "of": 11, "failed": 1, "of_failed": 1, "most": 10_000}
    infos = json.loads(gzip.decompress(base64.b64decode(block(page, "infos-0"))))
    thumbnails, begin = block(page, "thumbnails-0"), 0
    for place in range(12):
        data = base64.b64decode(thumbnails[begin : begin + samples["thumbnail"][place]])
        begin += samples["thumbnail"][place]
        if place == 7:
            assert infos[place] == "" and not data and samples["size"][place] == 0
            continue
        with tarfile.open(run.directory.path / samples["tars"][samples["tar"][place]]) as archive:
            key = columns["key"][place]
            media = archive.extractfile(f"{key}.png").read()  # type: ignore[union-attr]
            info = archive.extractfile(f"{key}.json").read()  # type: ignore[union-attr]
            tar = Path(archive.name).read_bytes()  # type: ignore[arg-type]
        assert tar[samples["start"][place] :][: samples["size"][place]] == media
        assert infos[place] == info.decode()
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.format == "JPEG" and picture.size == (256, 256)


def test_scores_are_columns_unless_they_are_of_other_bytes(tmp_path: Path):
    run = finished_run(tmp_path, lines(10))
    (scoring,) = scorings(run.directory.path, "scorers=[basic]")
    work(scoring)
    record = json.loads(scoring.directory.done_record(1).read_text())
    scoring.directory.done_record(1).write_text(json.dumps({**record, "tar_sha256": "of before it grew"}))
    measured = {row["key"]: row["sharpness"] for row in rows(run.directory.path, "basic")}
    entries = read_entries(finished_shards(run.directory), 100)
    assert [one.values.get("sharpness") for one in entries] == [measured[one.key] for one in entries[:5]] + [None] * 5
    assert all(one.values["status"] == "ok" and one.values["reason"] == "" for one in entries)


def test_the_same_state_gives_the_same_bytes_and_most_is_kept_to(tmp_path: Path):
    run = finished_run(tmp_path, lines(23), fails={4: "why", 5: "why"})
    make_report(run.directory)
    first = read(run)
    make_report(run.directory)
    assert read(run) == first
    make_report(run.directory, 10)
    told = block(read(run), "facts")
    assert told["shown"] == {"made": 10, "of": 21, "failed": 2, "of_failed": 2, "most": 10}
    assert block(read(run), "samples")["count"] == 12


def test_a_run_in_the_making_has_its_finished_shards_and_its_progress(tmp_path: Path):
    run = finished_run(tmp_path, lines(20), shards=range(0))
    make_report(run.directory)
    told = block(read(run), "facts")
    assert told["time"]["last"] is None and told["shown"]["of"] == 0 and block(read(run), "samples")["count"] == 0
    make_shards(run, {}, range(1, 2))
    attempt = Attempt(run.directory, 2, fingerprint="f", device="cpu", log="its.log")
    for index in (10, 11):
        attempt.append(index, ["a"], b"x" * 512, media_sha256="", seconds=1.0)
    make_report(run.directory)
    told = block(read(run), "facts")
    assert (told["status"]["done"], told["status"]["running"], told["status"]["samples_done"]) == (1, 1, 7)
    assert told["time"]["made"][-1] == 7 and told["shown"]["of"] == 5
    assert len(stretches_of(run.directory, finished_shards(run.directory))) == 3
    attempt.end("failed", "no such <b>weights</b>")
    make_report(run.directory)
    assert block(read(run), "facts")["failures"][0]["reason"] == "no such <b>weights</b>"


def test_what_a_later_pass_made_is_shown_in_place_of_the_failure(tmp_path: Path):
    run = finished_run(tmp_path, lines(10), fails={3: "black", 8: "black"})
    later = retried(run)
    create(later)
    make_shards(later, {8: "black again"}, range(later.layout.num_shards))
    entries = {one.key: one for one in read_entries(finished_shards(run.directory), 100)}
    assert len(entries) == 10
    made, lost = (entries[run.layout.sample(index).key] for index in (3, 8))
    assert made.tar == "retry-1/data/00000.tar" and made.thumbnail and made.values["status"] == "ok"
    assert lost.values["reason"] == "black again" and not lost.thumbnail


def test_what_cannot_be_read_is_said_and_the_rest_is_shown(tmp_path: Path):
    run = finished_run(tmp_path, lines(20))
    run.directory.tar(0).unlink()
    tar = run.directory.tar(1)
    whole = tar.read_bytes()
    tar.write_bytes(whole[:2000])  # cut within a sample
    run.directory.sidecar(2).write_bytes(b"torn")
    broken = run.directory.tar(3).read_bytes()
    run.directory.tar(3).write_bytes(broken.replace(b"\x89PNG", b"\x00PNG", 1))
    make_report(run.directory)
    samples, told = block(read(run), "samples"), block(read(run), "facts")
    troubles = list(samples["trouble"].values())
    assert samples["count"] == 15 and told["shown"]["of"] == 20
    assert sum("data/00000.tar cannot be read (FileNotFoundError" in one for one in troubles) == 5
    assert sum("data/00001.tar" in one for one in troubles) >= 4
    assert sum("it cannot be shown (UnidentifiedImageError" in one for one in troubles) == 1


def test_a_clip_that_cannot_be_decoded_is_an_error_of_that_clip():
    with pytest.raises(OSError, match="ffmpeg: "):
        clip_thumbnail(b"no clip at all", 17, 128)


def test_a_full_disk_leaves_the_old_report_and_costs_the_run_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with small_disk(tmp_path / "disk", "size=600k") as disk:
        run = finished_run(disk, lines(10), size=lambda sample: 64)
        assert conclude([(run, [0, 1])], []) == 0
        before = read(run)
        assert f"report: {run.directory.path / NAME}" in capsys.readouterr().out
        filler = disk / "filler"
        with open(filler, "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        assert conclude([(run, [0, 1])], []) == 0
        said = capsys.readouterr().out
        assert f"report: none (the file system of {run.directory.path} is full; " in said
        assert read(run) == before and not list(run.directory.path.glob(".report*"))


def test_a_run_that_asks_for_none_gets_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = finished_run(tmp_path, lines(5), "report=false")
    assert conclude([(run, [0])], []) == 0
    assert "report" not in capsys.readouterr().out and not (run.directory.path / NAME).exists()
