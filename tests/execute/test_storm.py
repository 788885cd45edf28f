"""What tasks that start together do to each other."""

import multiprocessing
import os
import time
from pathlib import Path

from jobs.base import node
from jobs.base.node import node_folder, one_at_a_time
from jobs.execute.storm import A_SECOND, LONGEST, delay, prepare


def test_a_large_array_begins_over_some_seconds_and_a_small_one_at_once() -> None:
    assert {delay(f"7_{index}", A_SECOND) for index in range(A_SECOND)} == {0.0}
    starts = sorted(delay(f"7_{index}", 400) for index in range(400))
    assert starts[-1] < 400 / A_SECOND
    in_each_second = [sum(int(start) == second for start in starts) for second in range(20)]
    assert max(in_each_second) < 3 * A_SECOND and min(in_each_second) > 0
    assert max(delay(f"7_{index}", 10**6) for index in range(1000)) < LONGEST


def test_a_task_asks_nobody_and_keeps_its_kernels_on_the_machine(monkeypatch, tmp_path: Path) -> None:
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "TORCHINDUCTOR_CACHE_DIR", "SLURM_ARRAY_TASK_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", "/own")
    monkeypatch.setattr(node.tempfile, "gettempdir", lambda: str(tmp_path))
    prepare()
    assert os.environ["HF_HUB_OFFLINE"] == os.environ["TRANSFORMERS_OFFLINE"] == "1"
    assert os.environ["TRITON_CACHE_DIR"] == "/own"
    assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).parent == node_folder()
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.delenv(name)


def test_a_directory_that_others_can_write_to_is_not_used(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(node.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = tmp_path / f"spectrum-jobs-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    assert node_folder() is None
    folder.rmdir()
    folder.symlink_to(tmp_path)
    assert node_folder() is None
    with one_at_a_time("load"):  # goes without
        pass


def read(folder: str, log: str) -> None:
    node.tempfile.gettempdir = lambda: folder  # type: ignore
    with one_at_a_time("load"), open(log, "a") as file:
        for word in ("in", "out"):
            file.write(f"{word} {os.getpid()}\n")
            file.flush()
            time.sleep(0.05)


def test_one_process_of_a_machine_reads_at_a_time(tmp_path: Path) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    readers = [context.Process(target=read, args=(str(tmp_path), str(log))) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(30)
    words = [line.split() for line in log.read_text().splitlines()]
    assert len(words) == 8
    assert all(words[turn][0] == "in" and words[turn + 1] == ["out", words[turn][1]] for turn in range(0, 8, 2))
