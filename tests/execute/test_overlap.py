"""Batches that overlap, with stand-ins for the model: order, failures, what is written down, where nothing overlaps."""

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from jobs.dataset.layout import Sample
from jobs.execute import shard, turns
from jobs.execute.audit import Audit
from jobs.execute.halt import Halt
from jobs.execute.memory import Sparing
from jobs.execute.overlap import Overlap
from jobs.execute.pace import Pace
from jobs.execute.room import Room, fits
from jobs.execute.shard import make_shard
from jobs.execute.worker import load
from jobs.media.image import ImageFormat
from jobs.model.handover import _decodes_last, decodes_apart
from jobs.model.pipeline import Failure, Made
from jobs.options.model import ModelOptions
from jobs.run.run import Run
from jobs.store.attempt import Attempt
from jobs.store.journal import DIED, Death, journals, write_end
from jobs.store.writer import Writer
from tests.decoding import PATIENCE, Held, plain_pixels
from tests.support import new_run, picture, resolved, tar_hashes, write_prompts
from tests.tiny_pipelines import flux, sdxl

Fails = Callable[[str, list[int]], Exception | None]


class StandIn:
    """Takes the place of a ``BatchPipeline``.

    Args:
        fails: what ``fails(stage, indices)`` returns is raised in that stage, "denoise" or "decode".
        held: batches that are not decoded before another one denoises.
        room: see ``Overlap``.
    """

    handover = object()

    def __init__(self, fails: Fails = lambda stage, indices: None, held: Sequence[list[int]] = (), room: Any = None):
        self.fails, self.held, self.overlap = fails, held, Overlap(self, room)  # type: ignore[arg-type]
        self.events: list[tuple[str, list[int]]] = []
        self.interruptions = 0
        self._changed = threading.Condition()

    def __call__(self, batch: list[Sample], denoised: Callable[[], None] = lambda: None) -> list[Made | Failure]:
        indices = [sample.index for sample in batch]
        self._enter("denoise", indices)
        denoised()
        if indices in self.held and self.events.count(("denoise", indices)) == 1:
            with self._changed:
                assert self._changed.wait_for(lambda: self._has_company(indices), PATIENCE), "nothing else was begun"
        self._enter("decode", indices)
        return [Made(picture(sample.index * 10 + len(batch)), {"flagged": False}) for sample in batch]

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        self.interruptions += 1
        yield

    def _enter(self, stage: str, indices: list[int]) -> None:
        with self._changed:
            self.events.append((stage, indices))
            self._changed.notify_all()
        if error := self.fails(stage, indices):
            raise error

    def _has_company(self, indices: list[int]) -> bool:
        later = self.events[self.events.index(("denoise", indices)) + 1 :]
        return any(stage == "denoise" for stage, _ in later)


def new(folder: Path, *overrides: str, count: int = 6) -> Run:
    folder.mkdir(exist_ok=True)
    prompts = write_prompts(folder / "prompts.txt", count)
    return new_run(folder, f"prompt_file={prompts}", "batch_size=2", f"shard_size={count}", *overrides)


def make(
    run: Run,
    generator: StandIn,
    *,
    overlaps: bool = True,
    halt: Halt | None = None,
    pace: Pace | None = None,
    audit: Any = None,
    deaths: Sequence[Death] = (),
) -> Attempt:
    attempt = Attempt(run.directory, 0, fingerprint="same", device="cpu", log="")
    attempt.deaths += deaths
    writer = Writer(run.layout, ImageFormat("png", 95), {}, sample_attempts=2, in_flight=8, report=lambda *event: None)
    overlap = generator.overlap if overlaps else None
    pipeline = Sparing(generator, run.options.oom, "cpu", overlap)  # type: ignore[arg-type]
    try:
        make_shard(pipeline, run, attempt, writer, halt, pace, audit, overlap)
    finally:
        generator.overlap.close()
        writer.close()
    return attempt


def denoised(generator: StandIn) -> list[list[int]]:
    return [indices for stage, indices in generator.events if stage == "denoise"]


def order(generator: StandIn, *events: tuple[str, list[int]]) -> bool:
    places = [generator.events.index(event) for event in events]
    return places == sorted(places)


@pytest.fixture
def unharmed(tmp_path: Path) -> dict[str, str]:
    run = new(tmp_path / "unharmed")
    make(run, StandIn(), overlaps=False)
    return tar_hashes(run.directory.path)


def test_the_next_batch_denoises_while_one_is_decoded_and_all_come_in_order(tmp_path: Path, unharmed: Any) -> None:
    run, generator = new(tmp_path / "run"), StandIn(held=([0, 1], [2, 3]))
    make(run, generator)
    assert denoised(generator) == [[0, 1], [2, 3], [4, 5]]
    assert order(generator, ("denoise", [2, 3]), ("decode", [0, 1]), ("denoise", [4, 5]), ("decode", [2, 3]))
    assert tar_hashes(run.directory.path) == unharmed


@pytest.mark.parametrize("stage", ["denoise", "decode"])
@pytest.mark.parametrize("bad", [0, 2, 4])
def test_a_failure_in_one_of_two_batches_is_that_ones_alone(tmp_path: Path, stage: str, bad: int) -> None:
    def fails(at: str, indices: list[int]) -> Exception | None:
        return ValueError("no") if at == stage and bad in indices else None

    hashes = []
    for overlaps in (True, False):
        run = new(tmp_path / str(overlaps))
        company = overlaps and stage == "decode" and bad < 4
        generator = StandIn(fails, held=[[bad, bad + 1]] if company else ())
        attempt = make(run, generator, overlaps=overlaps)
        assert [row["failed"] for row in attempt.failures] == [bad]
        alone = [[bad], [bad + 1]]
        assert sorted(denoised(generator)) == sorted([[0, 1], [2, 3], [4, 5], *alone])
        make(run, StandIn(fails), overlaps=overlaps)  # gives it up
        hashes.append(tar_hashes(run.directory.path))
    assert hashes[0] == hashes[1] and len(hashes[0]) == 1


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), RuntimeError("GET was unable to find an engine to")])
@pytest.mark.parametrize("stage", ["denoise", "decode"])
def test_too_little_memory_for_two_batches_ends_the_overlap_and_leaves_no_trace(
    tmp_path: Path, unharmed: Any, stage: str, error: Exception
) -> None:
    tried = []

    def fails(at: str, indices: list[int]) -> Exception | None:
        tried.append((at, indices))
        full = at == stage and indices == ([2, 3] if at == "denoise" else [0, 1]) and tried.count((at, indices)) == 1
        return error if full else None

    run, generator = new(tmp_path / "run"), StandIn(fails, held=[[0, 1]])
    make(run, generator)
    assert tar_hashes(run.directory.path) == unharmed
    again = [2, 3] if stage == "denoise" else [0, 1]
    assert sorted(denoised(generator)) == sorted([[0, 1], [2, 3], [4, 5], again])
    assert order(generator, ("decode", [2, 3]), ("denoise", [4, 5])), "the last batch overlapped"


def test_what_was_begun_is_made_anew_once_batches_are_split(tmp_path: Path) -> None:
    run = new(tmp_path / "run", "oom=adapt")
    told: list[tuple[list[int], list[int]]] = []

    def fails(stage: str, indices: list[int]) -> Exception | None:
        told.append((indices, next(journals(run.directory, 0)).trying))
        return torch.OutOfMemoryError("no memory left") if (stage, indices) == ("decode", [0, 1]) else None

    generator = StandIn(fails, held=[[0, 1]])
    make(run, generator)
    assert denoised(generator) == [[0, 1], [2, 3], [0, 1], [0], [1], [2], [3], [4], [5]]
    assert told[-1] == ([5], [4, 5])


def test_what_a_call_without_memory_held_is_free_before_it_is_tried_again(tmp_path: Path) -> None:
    held: list[weakref.ref[np.ndarray]] = []

    def fails(stage: str, indices: list[int]) -> None:
        if (stage, indices) != ("denoise", [2, 3]):
            return
        if held:
            assert held[0]() is None, "the exception is still there, and all that it knows"
        else:
            latents = np.zeros(1)
            held.append(weakref.ref(latents))
            raise torch.OutOfMemoryError("no memory left")

    gc.disable()
    try:
        attempt = make(new(tmp_path / "run"), StandIn(fails, held=[[0, 1]]))
    finally:
        gc.enable()
    assert held and not attempt.failures


def test_a_shard_that_a_process_died_at_is_made_batch_by_batch(tmp_path: Path, unharmed: Any) -> None:
    run = new(tmp_path / "run")
    dead = Attempt(run.directory, 0, fingerprint="same", device="cpu", log="")
    dead.trying([0, 1, 2, 3], True)
    write_end(run.directory, [0], os.getpid(), DIED, "was killed by SIGSEGV", crashed=True)
    generator = StandIn()
    attempt = make(run, generator)
    assert [death.trying for death in attempt.deaths] == [(0, 1, 2, 3)]
    first = [4, 5]  # of which nobody died, to see whether anything can be made
    batches = (first, [0, 1], [2, 3], [4, 5])
    assert generator.events == [(stage, batch) for batch in batches for stage in ("denoise", "decode")]
    assert tar_hashes(run.directory.path) == unharmed


def test_two_batches_fit_at_once_only_where_there_is_clearly_room() -> None:
    gib = 1 << 30
    assert fits(80 * gib, 30 * gib, 10 * gib, 10 * gib)
    assert not fits(50 * gib, 30 * gib, 10 * gib, 10 * gib), "just enough"
    assert not fits(30 * gib + gib // 2, 30 * gib, 0, 0)


@pytest.mark.parametrize("there", [10, 0])
def test_on_a_gpu_a_batch_shows_alone_what_it_needs(
    tmp_path: Path, unharmed: Any, there: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = {"memory_allocated": 4 << 30, "max_memory_allocated": 5 << 30, "memory_reserved": 5 << 30}
    for name, size in memory.items():
        monkeypatch.setattr(torch.cuda, name, lambda size=size: size)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (there << 30, 80 << 30))
    run, generator = new(tmp_path / "run"), StandIn(held=[[2, 3]] if there else (), room=Room())
    make(run, generator)
    stages = [("denoise", [0, 1]), ("decode", [0, 1]), ("denoise", [2, 3])]
    if there:
        assert order(generator, *stages, ("denoise", [4, 5]), ("decode", [2, 3]))
    else:
        assert order(generator, *stages, ("decode", [2, 3]), ("denoise", [4, 5]))
    assert tar_hashes(run.directory.path) == unharmed


class Killed(BaseException):
    """Ends a stand-in's process."""


@pytest.mark.parametrize(("stage", "bad", "count"), [("decode", 0, 4), ("denoise", 2, 4), ("decode", 2, 6)])
def test_a_deadly_sample_is_found_with_at_most_one_more_death(tmp_path: Path, stage: str, bad: int, count: int) -> None:
    def deaths_until_done(overlaps: bool) -> list[Death]:
        run, deaths = new(tmp_path / str(overlaps), count=count), []

        dead = threading.Event()

        def dies(at: str, indices: list[int]) -> None:
            if overlaps and at == "decode" and stage == "denoise" and bad not in indices:
                assert dead.wait(PATIENCE)  # or it might be over by then
            if at == stage and bad in indices:
                journal = list(journals(run.directory, 0))[-1]
                deaths.append(Death(tuple(journal.trying), journal.sound, True, "was killed by SIGSEGV"))
                dead.set()
                raise Killed

        while not run.directory.is_done(0) and len(deaths) < 9:
            company = overlaps and not deaths
            beside = [[bad, bad + 1] if stage == "decode" else [bad - 2, bad - 1]]
            with suppress(Killed):
                attempt = make(run, StandIn(dies, held=beside if company else ()), overlaps=overlaps, deaths=deaths)
        assert [row["failed"] for row in attempt.failures] == [bad]
        return deaths

    together, one_by_one = deaths_until_done(True), deaths_until_done(False)
    assert len(together[0].trying) == 4 and len(one_by_one[0].trying) == 2
    assert len(together) <= len(one_by_one) + 1 <= 6


def test_an_interruption_leaves_nothing_under_way(tmp_path: Path) -> None:
    def interrupts(stage: str, indices: list[int]) -> None:
        if (stage, indices) == ("decode", [0, 1]):
            raise KeyboardInterrupt

    generator = StandIn(interrupts, held=[[0, 1]])
    with pytest.raises(KeyboardInterrupt):
        make(new(tmp_path / "run"), generator)
    assert generator.interruptions == 1 and generator.overlap.ahead == []
    assert generator.events[-1] == ("decode", [2, 3]), "what was begun has ended"


def test_the_journal_says_at_each_moment_what_is_being_made(tmp_path: Path) -> None:
    run = new(tmp_path / "run")
    told: list[tuple[str, list[int], list[int]]] = []

    def note(stage: str, indices: list[int]) -> None:
        told.append((stage, indices, next(journals(run.directory, 0)).trying))

    make(run, StandIn(note, held=([0, 1], [2, 3])))
    for stage, indices, trying in told:
        assert set(indices) <= set(trying), (stage, indices, trying)
    assert ("decode", [0, 1], [0, 1, 2, 3]) in told and ("decode", [2, 3], [2, 3, 4, 5]) in told


def test_an_audited_batch_has_the_pipeline_to_itself(tmp_path: Path) -> None:
    run, generator = new(tmp_path / "run"), StandIn()

    class Auditing(Audit):
        def is_due(self, batch: list[Sample]) -> bool:
            return batch[0].index == 2

        def of(self, batch: list[Sample], results: Any) -> dict[int, dict[str, Any]]:
            if self.is_due(batch):
                assert generator.overlap.ahead == [] and denoised(generator)[-1] == [2, 3]
            return {}

    make(run, generator, audit=Auditing(run, generator))
    assert denoised(generator) == [[0, 1], [2, 3], [4, 5]]


def test_nothing_is_begun_that_there_is_no_time_for(tmp_path: Path) -> None:
    run, generator = new(tmp_path / "run"), StandIn()

    class Ending(Halt):
        def before(self, seconds: float) -> str:
            if ("denoise", [0, 1]) in generator.events:
                self.ask("its time is over")
            return self.why

    make(run, generator, halt=Ending())
    assert denoised(generator) == [[0, 1]]
    (journal,) = journals(run.directory, 0)
    assert [row["sample"] for row in journal.samples] == [0, 1] and journal.ended["error"] == "its time is over"  # type: ignore[index]


def test_with_a_time_limit_the_first_batch_shows_first_how_long_it_takes(tmp_path: Path) -> None:
    generator = StandIn(held=[[2, 3]])
    make(new(tmp_path / "run"), generator, halt=Halt(end=time.time() + 3600))
    assert order(generator, ("decode", [0, 1]), ("denoise", [2, 3]), ("denoise", [4, 5]), ("decode", [2, 3]))


def test_what_a_batch_takes_is_counted_from_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now: list[float] = []  # so that two threads can add to it at once
    clock = SimpleNamespace(perf_counter=lambda: sum(now))
    monkeypatch.setattr(shard, "time", clock)
    monkeypatch.setattr(turns, "time", clock)
    run, pace = new(tmp_path / "run"), Pace()
    generator = StandIn(lambda stage, _: now.append({"denoise": 10.0, "decode": 8.0}[stage]), held=([0, 1], [2, 3]))
    attempt = make(run, generator, pace=pace)
    assert pace.expected(run.layout.batches(0)[-1]) == 8 + 10 + 8  # beside the batch before, as the next one may be
    # Each second once. What the other thread does between a batch's return and the next one's turn is no generating.
    assert 3 * (10 + 8) - 2 * 8 <= attempt.spent["generating"] <= 3 * (10 + 8)
    assert attempt.spent["generating"] + attempt.spent["waiting"] == 3 * (10 + 8)


def test_calls_see_what_compilation_was_set_to(tmp_path: Path) -> None:
    import torch._dynamo.config as dynamo
    import torch._inductor.config as inductor

    seen: list[tuple[bool, int]] = []
    generator = StandIn(lambda *_: seen.append((inductor.deterministic, dynamo.recompile_limit)), held=[[0, 1]])
    with inductor.patch(deterministic=True), dynamo.patch(recompile_limit=777):
        make(new(tmp_path / "run"), generator)
    assert len(seen) == 6 and set(seen) == {(True, 777)}


@pytest.mark.slow
@pytest.mark.parametrize("model", ["demo", "demo-unet", "demo-video"])
def test_embedded_models_overlap_to_the_bytes_of_the_plain_pipeline(model: str, tmp_path: Path) -> None:
    prompts = write_prompts(tmp_path / "prompts.txt", 3)
    run = resolved(f"model={model}", f"prompt_file={prompts}", "batch_size=2", "num_inference_steps=6", "algo.w=0.5")
    pipeline = load(run, "cpu", None)
    first, last = run.layout.batches(0)
    for steps in (nullcontext, pipeline.all_steps):
        overlap = Overlap(pipeline)
        overlap.following = lambda batch: last if batch is first else []
        with steps():
            with Held(pipeline, last=1) as held:
                made = [overlap(first), overlap(last)]
            overlap.close()
            plain = [plain_pixels(pipeline, first), plain_pixels(pipeline, last)]
        assert held.overlapped()
        for one, pixels in zip(made, plain, strict=True):
            assert np.array_equal([sample.media for sample in one], pixels)


def test_what_cannot_be_taken_apart_is_called_plainly() -> None:
    def apart(pipeline: Any, **options: Any) -> bool:
        return decodes_apart(pipeline, ModelOptions(name="m", path="p", **options))

    image = flux()
    assert apart(image)
    assert not apart(image, offload="model") and not apart(image, compile="max-autotune")
    widened = sdxl()
    assert apart(widened)
    widened.vae.to(torch.float16)
    assert not apart(widened)
    image.vae = None
    assert not apart(image)


@pytest.mark.parametrize(
    "kind",
    [
        *("FluxPipeline", "StableDiffusion3Pipeline", "StableDiffusionXLPipeline", "WanPipeline"),
        *("HunyuanVideoPipeline", "StableDiffusionPipeline", "LTXPipeline", "QwenImagePipeline"),
    ],
)
def test_calls_overlap_that_leave_the_denoiser_alone_once_they_decode(kind: str) -> None:
    assert _decodes_last(getattr(diffusers, kind))


@pytest.mark.parametrize(
    "kind",
    [
        *("StableDiffusionXLPAGPipeline", "StableDiffusion3PAGPipeline", "SanaPAGPipeline", "AnimateDiffPAGPipeline"),
        *("StableDiffusionSAGPipeline", "StableDiffusionAttendAndExcitePipeline"),
        "HunyuanVideoFramepackPipeline",  # decodes each chunk before the next one denoises
    ],
)
def test_calls_that_touch_the_denoiser_once_they_decode_are_made_one_by_one(kind: str) -> None:
    assert not _decodes_last(getattr(diffusers, kind))
