"""Exports of runs made without a model: what is in them, that nothing private is, and what is refused."""

import errno
import hashlib
import io
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tarfile
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import api
from jobs.base.errors import BadInput
from jobs.export import tars
from jobs.export.__main__ import main
from jobs.export.index import index_shard, without_paths
from jobs.export.source import open_runs
from jobs.options.export import ExportOptions
from jobs.store.rundir import RunDir
from tests.export.runs import finished_run, lines, make_shards
from tests.support import PROJECT, small_disk

WEB = ("energon=false",)


def export(*words: object) -> None:
    """Run the command in this process."""
    assert main([str(word) for word in words] + (list(WEB) if not any("format=" in str(w) for w in words) else [])) == 0


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one sentence with which the command is refused."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        export(*words)
    assert ended.value.code == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and text.startswith("error: ")
    return text


def files(folder: Path) -> dict[str, str]:
    """Path -> sha256 of every file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def samples(folder: Path) -> dict[str, dict[str, bytes]]:
    """Key -> extension -> contents, of all tars."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.rglob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                key, _, extension = member.name.partition(".")
                file = archive.extractfile(member)
                assert file and extension not in found.setdefault(key, {})
                found[key][extension] = file.read()
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve samples in three shards."""
    return finished_run(tmp_path_factory.mktemp("one"), lines(12)).directory.path


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with metadata of all kinds, equal prompts, repeats and two samples that were given up."""
    rows = [
        {"prompt": "a cat", "score": 1, "group": "x", "deep": {"a": 1}, "mixed": 1, "ok": True},
        {"prompt": "a dog", "score": 2.5, "group": "y", "deep": [1], "mixed": "one", "ok": False},
        {"prompt": "a cat", "score": None, "group": "2024-01-01", "deep": None, "mixed": None, "ok": None},
        {"prompt": "a <script>alert(1)</script> | `cow` [x](y)", "score": 3, "group": "z", "deep": {}, "mixed": 2.5},
    ]
    folder = tmp_path_factory.mktemp("rich")
    reasons = {1: f"OSError: {folder}/private/weights.bin is torn", 6: "ValueError: no such thing"}
    text = "\n".join(map(json.dumps, rows))
    return finished_run(folder, text, "samples_per_prompt=2", "exp_name=rich", fails=reasons).directory.path


def test_an_export_has_every_sample_as_it_was(run, tmp_path) -> None:
    export(run, tmp_path / "out")
    assert samples(tmp_path / "out") == samples(run)
    assert {*files(tmp_path / "out")} == {
        *("README.md", "SHA256SUMS", "metadata.parquet", "stats.json"),
        *("train/train-00000.tar", "train/sizes.json", "train-index.json"),
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_checksums_are_those_of_all_files(run, tmp_path) -> None:
    export(run, tmp_path / "out", "split=0.5,0.3,0.2")
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "out", capture_output=True, text=True)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(files(tmp_path / "out")) - 1


def test_shards_that_need_no_change_are_links(run, tmp_path) -> None:
    export(run, tmp_path / "out", "shard_mb=0")
    for number in range(3):
        here, there = tmp_path / f"out/train/train-{number:05d}.tar", run / f"data/{number:05d}.tar"
        assert os.path.samefile(here, there)


def test_small_shards_are_cut_where_a_sample_ends(run, tmp_path) -> None:
    export(run, tmp_path / "out", "shard_mb=0.012")
    tars = sorted((tmp_path / "out/train").glob("*.tar"))
    assert len(tars) > 3 and samples(tmp_path / "out") == samples(run)
    sizes = json.loads((tmp_path / "out/train/sizes.json").read_text())
    assert sum(sizes.values()) == 12 and [*sizes] == [path.name for path in tars]


def test_repeats_and_equal_prompts_are_in_one_split(rich, tmp_path) -> None:
    export(rich, tmp_path / "out", "split=0.4,0.3,0.3")
    rows = pq.read_table(tmp_path / "out/metadata.parquet").to_pylist()
    splits = {prompt: {row["split"] for row in rows if row["prompt"] == prompt} for prompt in ("a cat", "a dog")}
    assert all(len(found) == 1 for found in splits.values())
    for row in rows:
        assert row["file"] is None or row["file"].startswith(f"{row['split']}/")


def test_the_table_tells_of_every_sample_with_its_own_columns(rich, tmp_path) -> None:
    export(rich, tmp_path / "out")
    table = pq.read_table(tmp_path / "out/metadata.parquet")
    rows = table.to_pylist()
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "ok", "ok", "ok", "failed", "ok"]
    assert rows[1]["reason"] == "OSError: weights.bin is torn" and rows[1]["file"] is None
    assert [row["metadata_score"] for row in rows[::2]] == [1.0, 2.5, None, None]
    assert [str(table.schema.field(f"metadata_{name}").type) for name in ("score", "group", "ok", "mixed", "deep")] == [
        *("double", "string", "bool", "string", "string")
    ]
    assert rows[0]["metadata_deep"] == '{"a": 1}' and rows[2]["metadata_mixed"] == "one"
    assert rows[0]["algo_evaluated"] == [0, 1, 7] and rows[0]["encoders"][0]["tokens"] == 9
    with tarfile.open(tmp_path / "out/train/train-00000.tar") as archive:
        for row in rows:
            if row["file"]:
                file = archive.extractfile(f"{row['key']}.png")
                assert file
                data = file.read()
                assert (len(data), hashlib.sha256(data).hexdigest()) == (row["bytes"], row["sha256"])
    stats = json.loads((tmp_path / "out/stats.json").read_text())
    assert (stats["samples"], stats["given_up"], stats["prompts"]) == (6, 2, 3)


@pytest.mark.parametrize("form", ["webdataset", "parquet", "imagefolder"])
def test_nothing_private_is_in_it(rich, tmp_path, form) -> None:
    export(rich, tmp_path / "out", f"format={form}", *(WEB if form == "webdataset" else ()))
    private = [str(rich.parent), str(tmp_path), f"{socket.gethostname()}-"]
    table = pq.read_table(tmp_path / "out/metadata.parquet")
    assert not {"seconds", "host", "device", "attempt"} & {*table.column_names}
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.suffix != ".parquet"]
    tables = [str(pq.read_table(path).to_pylist()) for path in (tmp_path / "out").rglob("*.parquet")]
    for text in [*(path.read_bytes() for path in written), *(table.encode() for table in tables)]:
        assert not [word for word in private if word.encode() in text]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[Errno 13] Permission denied: '/home/alice'", "[Errno 13] Permission denied: '~'"),
        ("/home/alice/, /Users/bob", "~, ~"),
        ("/home/alice//runs//x.bin is torn", "x.bin is torn"),
        ("file:///home/alice/x.bin", "x.bin"),
        ("cache:/srv/[alice]/x=1/y,z.bin", "cache:y,z.bin"),
        ("~alice/x.bin and ~/y/z.bin: line 3", "x.bin and z.bin: line 3"),
        ("/srv/models/", "models/"),
        ("https://home/a/b https://example.org/a/b s3://bucket/a 3/4 and/or </b> /tmp", None),
    ],
)
def test_of_a_path_the_last_part_is_left_and_of_a_home_nothing(text, told) -> None:
    assert without_paths(text) == (told or text)


def test_the_same_runs_make_the_same_bytes_in_any_order(run, rich, tmp_path) -> None:
    export(run, rich, tmp_path / "one", "split=0.6,0.4", "shard_mb=0.03")
    export(rich, run, tmp_path / "two", "split=0.6,0.4", "shard_mb=0.03")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_keys_that_would_collide_get_their_runs_name(run, rich, tmp_path) -> None:
    export(run, rich, tmp_path / "out")
    merged = samples(tmp_path / "out")
    assert {key.partition("-")[0] for key in merged} == {"run", "rich"}
    for name, path in (("run", run), ("rich", rich)):
        for key, members in samples(path).items():
            new = merged[f"{name}-{key}"]
            assert {**members, "json": b""} == {**new, "json": b""}
            assert json.loads(new["json"]) == {**json.loads(members["json"]), "key": f"{name}-{key}"}
    table = pq.read_table(tmp_path / "out/metadata.parquet").to_pylist()
    assert {row["key"] for row in table if row["file"]} == {*merged}


def test_columns_of_whole_numbers_in_one_run_and_of_others_in_another_are_numbers(tmp_path) -> None:
    texts = {"a": '{"prompt": "one", "mark": 4611686018427387905}', "b": '{"prompt": "two", "mark": 0.5}'}
    paths = [finished_run(tmp_path / name, text, f"exp_name={name}").directory.path for name, text in texts.items()]
    export(*paths, tmp_path / "out")
    assert pq.read_table(tmp_path / "out/metadata.parquet")["metadata_mark"].to_pylist() == [float(2**62), 0.5]


def test_runs_with_prefixes_of_their_own_keep_their_keys(tmp_path) -> None:
    runs = [
        finished_run(tmp_path / name, lines(3), f"key_prefix={name}-", f"exp_name={name}").directory.path
        for name in ("a", "b")
    ]
    export(*runs, tmp_path / "out", "shard_mb=0")
    assert {*samples(tmp_path / "out")} == {f"{name}-{n:08d}_0000" for name in ("a", "b") for n in range(3)}
    assert os.path.samefile(tmp_path / "out/train/train-00000.tar", runs[0] / "data/00000.tar")


def test_a_finished_export_is_left_alone(run, tmp_path, capsys) -> None:
    export(run, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    export(run, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert "nothing was left to do" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["SHA256SUMS", "train/train-00000.tar"])
def test_an_export_that_has_lost_a_file_is_not_called_whole(run, tmp_path, capsys, name) -> None:
    export(run, tmp_path / "out")
    (tmp_path / "out" / name).unlink()
    for more in ([], [f"dest=file://{tmp_path}/copy"]):
        said = refusal(capsys, run, tmp_path / "out", *more)
        assert f"{name} is missing: put it right, or delete {tmp_path}/out and export again" in said


def test_a_split_into_which_no_prompt_falls_is_told(run, tmp_path, capsys) -> None:
    export(run, tmp_path / "out", "split=0.998,0.001,0.001")
    told = capsys.readouterr().out
    for split in ("validation", "test"):
        assert f"there is no {split}: no prompt falls into its share, 0.001 of " in told
        assert not (tmp_path / "out" / split).exists()
    assert "there is no train" not in told


def test_another_export_in_its_place_is_refused(run, rich, tmp_path, capsys) -> None:
    export(run, tmp_path / "out")
    before = files(tmp_path)
    assert "shard_mb was 1000.0, is 5.0" in refusal(capsys, run, tmp_path / "out", "shard_mb=5")
    assert "run rich is not among its runs" in refusal(capsys, run, rich, tmp_path / "out")
    assert files(tmp_path) == before


def test_what_is_no_export_is_not_overwritten(run, tmp_path, capsys) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    assert "no export" in refusal(capsys, run, tmp_path / "full")
    assert "is a file" in refusal(capsys, run, tmp_path / "file")
    assert "is a run" in refusal(capsys, run, run)
    assert "lies within the run" in refusal(capsys, run, run / "export")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "full"]
    export(run, tmp_path / "empty")


def test_unfinished_runs_are_refused_or_exported_in_part(tmp_path, capsys) -> None:
    made = finished_run(tmp_path, lines(12), shards=range(2))
    path = made.directory.path
    assert "1 of 3 shards (2 of 12 samples) are missing" in refusal(capsys, path, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()
    export(path, tmp_path / "out", "partial=true")
    assert len(samples(tmp_path / "out")) == 10
    said = "10 images of 10 prompts; 2 more had not been made when this part was exported."
    assert said in (tmp_path / "out/README.md").read_text()
    make_shards(made, {}, range(2, 3))
    assert "shards was 2, is 3" in refusal(capsys, path, tmp_path / "out", "partial=true")
    export(path, tmp_path / "whole")
    assert len(samples(tmp_path / "whole")) == 12
    assert "had not been made" not in (tmp_path / "whole/README.md").read_text()


def test_a_run_without_a_shard_is_refused(tmp_path, capsys) -> None:
    path = finished_run(tmp_path, lines(3), shards=range(0)).directory.path
    assert "no finished shard" in refusal(capsys, path, tmp_path / "out", "partial=true")


def test_an_export_in_part_goes_on_with_what_it_began_with(tmp_path, monkeypatch) -> None:
    made = finished_run(tmp_path, lines(12), shards=range(2))
    path = made.directory.path
    export(path, tmp_path / "whole", "partial=true")
    interrupt(monkeypatch, path, tmp_path / "out", "partial=true")
    make_shards(made, {}, range(2, 3))
    export(path, tmp_path / "out", "partial=true")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def interrupt(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    """Begin an export whose table cannot be written."""
    with monkeypatch.context() as patch:
        patch.setattr("jobs.export.export._table", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export(*words)


def test_an_interrupted_export_goes_on_without_writing_its_files_again(run, tmp_path, monkeypatch) -> None:
    export(run, tmp_path / "whole", "shard_mb=0.02")
    interrupt(monkeypatch, run, tmp_path / "out", "shard_mb=0.02")
    assert not (tmp_path / "out").exists()
    tars = {path: path.stat().st_ino for path in (tmp_path / "out.partial/out/train").glob("*.tar")}
    assert tars
    export(run, tmp_path / "out", "shard_mb=0.02")
    assert {*tars.values()} == {path.stat().st_ino for path in (tmp_path / "out/train").glob("*.tar")}
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert not (tmp_path / "out.partial").exists()


def test_an_interrupted_export_is_not_continued_as_another(run, tmp_path, monkeypatch, capsys) -> None:
    interrupt(monkeypatch, run, tmp_path / "out", "shard_mb=0.02")
    said = refusal(capsys, run, tmp_path / "out", "shard_mb=5")
    assert "out.partial holds another export" in said and "shard_mb was 0.02, is 5.0" in said


HOLD = """import sys
from pathlib import Path
from jobs.export.work import Work
with Work(Path(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.read()"""


def test_two_commands_do_not_write_one_export(run, tmp_path, capsys) -> None:
    words = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as other:
        assert other.stdout and other.stdout.readline() == "held\n"
        assert "another command" in refusal(capsys, run, tmp_path / "out")
        other.communicate()
    export(run, tmp_path / "out")


@pytest.mark.parametrize("place", [100, 700, 3000, -100])
def test_a_shard_with_a_changed_byte_is_not_exported(tmp_path, capsys, place) -> None:
    path = finished_run(tmp_path, lines(5)).directory.path
    data = bytearray((path / "data/00000.tar").read_bytes())
    data[place] ^= 1
    (path / "data/00000.tar").write_bytes(data)
    assert "00000.tar has other bytes than its run recorded" in refusal(capsys, path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", [lambda data: data[:-1] + b"x", lambda data: data[:-1], lambda data: data + b"x"])
def test_a_tar_that_the_disk_gives_back_otherwise_is_not_taken(run, tmp_path, monkeypatch, change) -> None:
    words = (run, tmp_path / "out", "shard_mb=0.02")

    def lossy(file: IO[bytes]) -> None:
        Path(file.name).write_bytes(change(Path(file.name).read_bytes()))

    with monkeypatch.context() as patch:
        patch.setattr("jobs.export.tars.forget", lossy)
        with pytest.raises(OSError, match="was read back with"):
            export(*words)
    assert not list(tmp_path.rglob("out/*.tar"))
    export(*words)
    export(run, tmp_path / "whole", "shard_mb=0.02")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_the_command_imports_nothing_that_it_has_no_use_for(run, tmp_path) -> None:
    heavy = "{'pandas', 'duckdb', 'torch', 'hydra', 'omegaconf', 'psutil', 'huggingface_hub', 'pyarrow.dataset'}"
    lines = (
        "import sys; from jobs.export.__main__ import main; main()",
        f"print('imported:', *{heavy} & sys.modules.keys())",
        "import pyarrow; print(len(pyarrow.table({'a': [1, 2]}).to_pandas()))",  # who asks for pandas gets it
    )
    words = [str(run), str(tmp_path / "out"), "shard_mb=0.02", *WEB]
    done = subprocess.run([sys.executable, "-c", "; ".join(lines), *words], capture_output=True, text=True)
    assert done.stdout.endswith("given up\nimported:\n2\n"), done.stdout + done.stderr


def test_a_shard_that_changes_after_it_was_read_is_read_again(tmp_path, monkeypatch, capsys) -> None:
    path = finished_run(tmp_path, lines(5)).directory.path
    interrupt(monkeypatch, path, tmp_path / "out")
    tar = path / "data/00000.tar"
    data = tar.read_bytes()
    tar.unlink()
    tar.write_bytes(data)  # another file of the same bytes, as of a run that was moved
    export(path, tmp_path / "out")
    interrupt(monkeypatch, path, tmp_path / "two")
    tar.write_bytes(data[:-1] + b"x")
    assert "other bytes" in refusal(capsys, path, tmp_path / "two")


SMALL_FILES = """import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from jobs.export.__main__ import main
from jobs.options.export import ExportOptions
main(sys.argv[2:])"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["webdataset", "parquet"])
def test_a_file_that_may_not_grow_is_said_and_nothing_half_is_there(run, tmp_path, form) -> None:
    words = [str(run), str(tmp_path / "out"), f"format={form}", "energon=false"]
    for limit in (5_000, 20_000):
        # -B: the limit would cut the compiled modules short, too, for every later process.
        command = [sys.executable, "-B", "-c", SMALL_FILES, str(limit), *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, timeout=90)
        assert done.returncode == 2, done.stderr[-2000:]
        assert "ulimit -f" in done.stderr and done.stderr.count("\n") == 1
        assert not (tmp_path / "out").exists()
    export(*words)
    export(run, tmp_path / "whole", *words[2:])
    assert files(tmp_path / "out") == files(tmp_path / "whole")


@pytest.mark.parametrize("size", ["32k", "160k"])
def test_a_full_disk_is_said_and_the_same_command_goes_on(run, tmp_path, capsys, size) -> None:
    with small_disk(tmp_path / "small", f"size={size}") as folder:
        assert "is full" in refusal(capsys, run, folder / "out", "format=parquet")
        assert not (folder / "out").exists()
        subprocess.run(["mount", "-o", "remount,size=2m", folder], check=True)
        export(run, folder / "out", "format=parquet")
        export(run, tmp_path / "whole", "format=parquet")
        assert files(folder / "out") == files(tmp_path / "whole")


def test_links_need_no_space_and_copies_do(tmp_path, monkeypatch, capsys) -> None:
    """A disk that says it has no byte free stands in for one that is nearly full."""
    full = shutil.disk_usage(tmp_path)._replace(free=0)
    path = finished_run(tmp_path, lines(12)).directory.path
    with monkeypatch.context() as patch:
        patch.setattr("jobs.export.export.shutil.disk_usage", lambda folder: full)
        export(path, tmp_path / "links", "shard_mb=0")
        for words in (["shard_mb=0", "format=parquet"], ["shard_mb=5"]):
            assert "the export needs" in refusal(capsys, path, tmp_path / "copies", *words)
            shutil.rmtree(tmp_path / "copies.partial")


@pytest.mark.parametrize("name", ["run.json", "done/00001.json", "data/00001.tar", "meta/00001.parquet"])
def test_what_may_not_be_read_is_said(tmp_path, capsys, monkeypatch, name) -> None:
    path = finished_run(tmp_path, lines(12)).directory.path
    if os.geteuid() == 0:  # who may read everything: the system's answer to others stands in
        forbid(monkeypatch, path / name)
    else:
        (path / name).chmod(0)
    said = refusal(capsys, path, tmp_path / "out")
    assert f"{path / name} cannot be read (Permission denied)" in said and "choose another destination" not in said


def forbid(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let nobody open a file."""
    whole = io.open

    def guarded(file: Any, *arguments: Any, **keywords: Any) -> Any:
        if str(file) == str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return whole(file, *arguments, **keywords)

    monkeypatch.setattr("io.open", guarded)
    monkeypatch.setattr("builtins.open", guarded)


def test_runs_that_do_not_go_together_are_refused(run, tmp_path, capsys) -> None:
    other = finished_run(tmp_path / "jpg", lines(3), "image_format=jpg").directory.path
    assert "must be of one kind" in refusal(capsys, run, other, tmp_path / "out")
    assert "are one run" in refusal(capsys, run, run, tmp_path / "out")
    assert "is not a run" in refusal(capsys, tmp_path / "none", tmp_path / "out")


def record(path: Path, **changes: Any) -> None:
    """Change what a run recorded of itself."""
    old = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**old, **changes}))


def test_a_missing_licence_is_refused_unless_it_is_given(tmp_path, capsys) -> None:
    path = finished_run(tmp_path, lines(3)).directory.path
    record(path, licence=None)
    assert "license=cc-by-4.0" in refusal(capsys, path, tmp_path / "out")
    assert "short name" in refusal(capsys, path, tmp_path / "out", "license=no such licence")
    export(path, tmp_path / "out", "license=CC-BY-4.0")
    assert "license: cc-by-4.0" in (tmp_path / "out/README.md").read_text()


def test_the_licence_is_the_one_that_the_run_recorded(tmp_path, capsys) -> None:
    """Whatever a model card says by now, and whatever this version of the program knows of it."""
    path = finished_run(tmp_path / "a", lines(3)).directory.path
    text = hashlib.sha256(b"the text").hexdigest()
    own = {"id": "other", "name": "house-rules", "link": "https://example.org/rules", "sha256": text}
    terms = {"licence": "House Rules", "says": "outputs must not be sold", "link": "https://example.org/rules"}
    record(path, licence=own, output_terms=terms)
    export(path, tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert "license: other\nlicense_name: house-rules\nlicense_link: https://example.org/rules\n" in card
    assert text in card and "says that outputs must not be sold" in card
    assert json.loads((tmp_path / "out/stats.json").read_text())["export"]["license"] == own
    other = finished_run(tmp_path / "b", lines(3), "exp_name=b").directory.path
    record(other, licence={**own, "sha256": hashlib.sha256(b"another text").hexdigest()})
    assert "licences of their own each" in refusal(capsys, path, other, tmp_path / "both")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["split=0.5"], "split must be the shares"),
        (["split=a,b"], "split must be the shares"),
        (["split=0.5,0.2,0.2,0.1"], "split must be the shares"),
        (["split=1.5,-0.5"], "split must be the shares"),
        (["split=nan,1"], "split must be the shares"),
        (["format=zip"], "format must be one of"),
        (["shard_mb=-1"], "shard_mb must be a number"),
        (["shard_mb=big"], "shard_mb must be a number"),
        (["partial=maybe"], "partial must be true or false"),
        (["colour=red"], "there is no option 'colour'"),
        (["name=a", "name=b"], "given twice"),
        (["format=parquet", "energon=true"], "energon=true is for format=webdataset"),
    ],
)
def test_wrong_options_are_refused_in_a_sentence(run, tmp_path, capsys, words, said) -> None:
    assert said in refusal(capsys, run, tmp_path / "out", *words)
    assert not any(tmp_path.iterdir())


def test_the_destination_must_be_named(run, capsys) -> None:
    assert "name at least one run" in refusal(capsys, run)


@pytest.mark.parametrize("dest", [".", "..", "/", "", "a/.."])
def test_a_destination_without_a_name_is_refused(run, tmp_path, capsys, monkeypatch, dest) -> None:
    monkeypatch.chdir(tmp_path)
    assert "the destination must be a new folder" in refusal(capsys, run, dest)
    assert not any(tmp_path.iterdir())


def test_the_function_needs_a_run() -> None:
    with pytest.raises(BadInput, match="name at least one"):
        api.export([], "out")


def test_help_lists_every_option(capsys) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for one in fields(ExportOptions):
        assert f"\n  {one.name}=" in said and one.metadata["help"] in said


def test_a_tar_that_is_replaced_while_it_is_exported_is_told(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "run")
    tar = tmp_path / "run/data/00001.tar"
    read_back = tars._read_back

    def replaced(*given: Any) -> str:
        new = bytearray(tar.read_bytes())
        new[600] ^= 1
        tar.with_suffix(".new").write_bytes(new)
        os.replace(tar.with_suffix(".new"), tar)
        return read_back(*given)

    monkeypatch.setattr(tars, "_read_back", replaced)
    said = refusal(capsys, tmp_path / "run", tmp_path / "out", "shard_mb=100")
    assert said == f"error: {tar} was changed since it was read: run the same command again\n"
    assert not (tmp_path / "out").exists()


def test_a_damaged_sidecar_is_a_sentence_whatever_is_damaged(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (source,) = open_runs([RunDir(tmp_path / "run")], partial=False, copies=tmp_path)
    shard = source.shards[1]
    sidecar = shard.directory.sidecar(shard.number)
    whole, dice, told = sidecar.read_bytes(), random.Random(3), 0
    other = io.BytesIO()
    pq.write_table(pa.table({"key": ["a"]}), other)
    for damaged in (b"", b"PAR1", other.getvalue(), *(_damaged(whole, dice) for _ in range(60))):
        sidecar.write_bytes(damaged)
        try:
            index_shard(source, shard)
        except BadInput as error:
            told += str(error) == f"{sidecar} is missing or torn: restore it, or delete the shard's done record and tar"
    assert told > 40, "some hit what nobody reads"


def _damaged(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for place in dice.sample(range(len(data)), 40):
        changed[place] ^= 0x55
    return bytes(changed)
