"""The writer works beside the generator, holds it back only at the bound, and does not swallow errors."""

import os
import threading
import time
from pathlib import Path

import pytest

from jobs.media.image import ImageFormat
from jobs.store.attempt import Attempt
from jobs.store.journal import Journal
from jobs.store.writer import GIVES_WAY, Writer
from tests.support import HOW, new_run, picture, write_prompts


class Gate(ImageFormat):
    """Encodes only when the test opens the gate."""

    opened = threading.Event()

    def encode(self, image, parameters=""):
        assert self.opened.wait(60)
        return super().encode(image, parameters)


@pytest.fixture
def parts(tmp_path: Path):
    run = new_run(tmp_path, f"prompt_file={write_prompts(tmp_path / 'p.txt', 8)}", "shard_size=8")
    attempt = Attempt(run.directory, 0, fingerprint="f", device="cpu", log="")
    return run, attempt


def make_writer(run, image_format, in_flight=3) -> Writer:
    return Writer(
        run.layout, image_format, {}, sample_attempts=2, in_flight=in_flight, report=lambda *event: None
    )  # fmt: skip


def add(writer: Writer, run, attempt: Attempt, index: int) -> None:
    sample = run.layout.sample(index)
    writer.add(attempt, sample, picture(index), HOW, 0.1)


def test_the_generator_goes_on_until_the_bound(parts) -> None:
    run, attempt = parts
    Gate.opened.clear()
    writer = make_writer(run, Gate("png", 95), in_flight=3)
    writer.start(attempt)

    def generate() -> None:
        for index in range(8):
            add(writer, run, attempt, index)
            passed.append(index)

    passed: list[int] = []
    thread = threading.Thread(target=generate)
    thread.start()
    while len(passed) < 4:  # one with the writer, three in the queue, none encoded
        time.sleep(0.01)
    thread.join(0.2)  # a fifth cannot pass, however long one waits
    assert thread.is_alive() and len(passed) == 4
    Gate.opened.set()
    thread.join(60)
    writer.finish(attempt)
    writer.close()
    assert run.directory.is_done(0) and writer.waited > 0.1  # the join above took longer


def test_a_full_disk_stops_the_generator_and_is_written_down(parts, monkeypatch) -> None:
    run, attempt = parts
    writer = make_writer(run, ImageFormat("png", 95))
    writer.start(attempt)
    add(writer, run, attempt, 0)

    def full(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    while not attempt.rows:
        pass
    monkeypatch.setattr(attempt, "write_tar", full)
    with pytest.raises(OSError, match="No space left"):
        for index in range(1, 8):
            add(writer, run, attempt, index)
        writer.close()
    journal = Journal.read(attempt.journal)
    assert journal and len(journal.samples) == 1
    assert journal.ended and "No space left" in journal.ended["error"]
    assert not run.directory.is_done(0)


def test_an_encoder_that_fails_is_not_a_missing_sample(parts) -> None:
    run, attempt = parts
    writer = make_writer(run, ImageFormat("png", 95))
    writer.start(attempt)
    writer.add(attempt, run.layout.sample(0), picture(0) * 0.5, HOW, 0.1)  # floats are no picture
    with pytest.raises(TypeError):
        writer.finish(attempt)
        writer.close()
    assert not run.directory.is_done(0)


def test_encoders_give_way_to_the_thread_that_generates(parts) -> None:
    run, attempt = parts
    own = os.getpriority(os.PRIO_PROCESS, 0)
    seen: list[int] = []

    class Telling(ImageFormat):
        def encode(self, image, parameters=""):
            seen.append(os.getpriority(os.PRIO_PROCESS, 0))
            return super().encode(image, parameters)

    writer = make_writer(run, Telling("png", 95))
    writer.start(attempt)
    add(writer, run, attempt, 0)
    writer.finish(attempt)
    writer.close()
    assert seen == [min(19, own + GIVES_WAY)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == own
