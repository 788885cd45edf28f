"""Which sample is to blame when a batch fails; the generator is a stand-in that fails as told."""

import dataclasses
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jobs.base.errors import BadInput
from jobs.dataset.layout import Sample
from jobs.execute import shard
from jobs.execute.audit import Audit
from jobs.execute.batch import Suspicion, generate_batch
from jobs.execute.halt import Halt
from jobs.execute.inprocess import Ranked
from jobs.execute.pace import Pace
from jobs.execute.pool import Pool
from jobs.execute.shard import make_shard as make
from jobs.media.image import ImageFormat
from jobs.model.pipeline import Failure, Made
from jobs.parallel.ranks import Member
from jobs.run.run import Run
from jobs.store.attempt import Attempt
from jobs.store.journal import Death
from jobs.store.writer import Writer
from tests.support import new_run, picture, resolved, tar_hashes, write_prompts


class StandIn:
    """Draws a picture that tells sample and batch size apart; ``fails(batch, call)`` returns an exception or None."""

    def __init__(self, fails, prepare=lambda batches: None):
        self.fails, self.prepare, self.calls = fails, prepare, 0

    def __call__(self, batch: list[Sample]) -> list[Made | Failure]:
        self.calls += 1
        if error := self.fails([sample.index for sample in batch], self.calls):
            raise error
        return [Made(picture(sample.index * 10 + len(batch)), {"flagged": False}) for sample in batch]


@pytest.fixture
def batch(tmp_path: Path) -> list[Sample]:
    prompts = write_prompts(tmp_path / "prompts.txt", 4)
    return new_run(tmp_path, f"prompt_file={prompts}", "batch_size=4").layout.batches(0)[0]


def drawn(results: dict, size: int) -> set[int]:
    """Samples whose picture came from a call of ``size`` samples."""
    return {i for i, x in results.items() if isinstance(x, Made) and np.array_equal(x.media, picture(i * 10 + size))}


def test_a_whole_batch_is_one_call(batch) -> None:
    generator = StandIn(lambda indices, call: None)
    assert drawn(generate_batch(generator, batch), 4) == {0, 1, 2, 3}
    assert generator.calls == 1


def test_one_bad_sample_is_found_and_the_others_are_kept(batch) -> None:
    results = generate_batch(StandIn(lambda indices, call: ValueError("no") if 2 in indices else None), batch)
    assert results[2] == Failure("ValueError: no")
    assert drawn(results, 1) == {0, 1, 3}


def test_a_passing_failure_leaves_the_bytes_of_an_undisturbed_batch(batch) -> None:
    results = generate_batch(StandIn(lambda indices, call: OSError("hiccup") if call == 1 else None), batch)
    assert drawn(results, 4) == {0, 1, 2, 3}


def test_what_fails_only_together_says_so(batch) -> None:
    results = generate_batch(StandIn(lambda indices, call: MemoryError("full") if len(indices) > 1 else None), batch)
    assert set(results) == {0, 1, 2, 3}
    for failure in results.values():
        assert isinstance(failure, Failure) and not failure.strike  # no prompt is given up for lack of memory
        assert "lower batch_size" in failure.reason and "full" in failure.reason


def test_a_broken_accelerator_is_nobodys_fault(batch) -> None:
    generator = StandIn(lambda indices, call: RuntimeError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(RuntimeError, match="accelerator failed"):
        generate_batch(generator, batch)
    assert generator.calls == 1


def make_shard(run, generator: StandIn) -> None:
    attempt = Attempt(run.directory, 0, fingerprint="same", device="cpu", log="")
    writer = Writer(run.layout, ImageFormat("png", 95), {}, sample_attempts=2, in_flight=8, report=lambda *event: None)
    make(generator, run, attempt, writer)
    writer.close()


def test_a_failure_that_passed_leaves_no_trace_in_the_bytes(tmp_path: Path) -> None:
    prompts = write_prompts(tmp_path / "prompts.txt", 4)
    overrides = (f"prompt_file={prompts}", "batch_size=4")
    harmed, unharmed = new_run(tmp_path / "harmed", *overrides), new_run(tmp_path / "unharmed", *overrides)
    # the batch hiccups, and then one sample alone does too: the others' pictures come from calls of one
    make_shard(harmed, StandIn(lambda indices, call: OSError("hiccup") if call == 1 or indices == [2] else None))
    assert not harmed.directory.is_done(0)
    make_shard(harmed, StandIn(lambda indices, call: None))
    make_shard(unharmed, StandIn(lambda indices, call: None))
    assert tar_hashes(harmed.directory.path) == tar_hashes(unharmed.directory.path)
    assert len(tar_hashes(harmed.directory.path)) == 1


class Auditing(Audit):
    """Says how long the clock of ``shard`` has to go on while it looks at a sample."""

    def __init__(self, run: Run, clock: list[float]):
        super().__init__(run, StandIn(lambda indices, call: None))
        self._clock = clock

    def of(self, batch: list[Sample], results: Any) -> dict[int, dict[str, Any]]:
        self._clock[0] += 30.0 if self.is_due(batch) else 0.0
        return {}


def test_the_time_of_an_audit_is_its_batchs_and_no_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = write_prompts(tmp_path / "prompts.txt", 8)
    run = new_run(tmp_path, f"prompt_file={prompts}", "batch_size=2", "audit_every=4", "algo.w=0.5")
    clock, asked = [0.0], []

    def call(indices: list[int], call: int) -> None:
        clock[0] += 10.0

    class Watched(Halt):
        def before(self, seconds: float) -> str:
            asked.append(seconds)
            return ""

    monkeypatch.setattr(shard, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    attempt = Attempt(run.directory, 0, fingerprint="same", device="cpu", log="")
    writer = Writer(run.layout, ImageFormat("png", 95), {}, sample_attempts=2, in_flight=8, report=lambda *event: None)
    pace = Pace()
    make(StandIn(call), run, attempt, writer, Watched(), pace, Auditing(run, clock))
    writer.close()
    assert asked == [0.0, 40.0, 40.0, 10.0]  # samples 0 and 4 are audited
    assert pace.sample == pytest.approx((5 + 20 + 5) / 3)
    record = json.loads(run.directory.done_record(0).read_text())
    assert record["attempts"][0]["generating"] == 100 and record["attempts"][0]["waiting"] == 0
    assert record["seconds"] == 40


def test_texts_are_encoded_ahead_of_what_is_to_be_made_within_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = write_prompts(tmp_path / "prompts.txt", 8)
    run = new_run(tmp_path, f"prompt_file={prompts}", "batch_size=2")
    clock, halt, prepared = [0.0], Halt(), []

    def ends(indices: list[int], call: int) -> None:
        if call == 2:
            halt.ask("enough")

    def prepare(batches: Iterable[list[Sample]]) -> None:
        for batch in batches:
            prepared.append(batch[0].index)
            clock[0] += 5.0
            if batch[0].index == 4 and len(prepared) > 4:
                halt.ask("its time is over")

    monkeypatch.setattr(shard, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    for spent in (20.0, 5.0):
        attempt = Attempt(run.directory, 0, fingerprint="same", device="cpu", log="")
        writer = Writer(run.layout, ImageFormat("png", 95), {}, sample_attempts=2, in_flight=8, report=lambda *_: None)
        make(StandIn(ends, prepare), run, attempt, writer, halt)
        writer.close()
        halt = Halt()
        assert attempt.spent["generating"] == spent
    assert prepared == [0, 2, 4, 6, 4]  # of the second attempt only what the first one left, and nothing once it ends


def test_what_others_made_of_a_calibration_is_not_this_turns(tmp_path: Path) -> None:
    run = new_run(tmp_path, f"prompt_file={write_prompts(tmp_path / 'prompts.txt', 4)}")
    ranked = Ranked(run, [0], Member(0, 2, 0), log_path="", halt=Halt())
    pool = Pool(run, [0], [], Halt(), "log")
    theirs = [("calibrating", "1 of 3 samples made with all steps"), ("calibrating", "0 of 2 samples forecast")]
    for events, made in ((theirs, 0), ([("calibrated", ""), ("sample", "")], 2)):
        for event, detail in events:
            ranked._report(event, None, detail)
            pipe = SimpleNamespace(recv=lambda event=event, detail=detail: (event, None, detail))
            pool._serve(SimpleNamespace(pipe=pipe, name="w"))
        assert (ranked.made, pool.made) == (made, made)


def crash(*samples: int, sound: bool = True, crashed: bool = True) -> Death:
    return Death(samples, sound, crashed, "was killed by SIGSEGV")


def fit(indices: list[int], call: int) -> None:
    """A stand-in's answer that all is well."""


@pytest.mark.parametrize(
    "deaths",
    [
        [crash(0, 1, 2, 3, crashed=False)] * 50,  # lost nodes, scancel, a twin that is only silent
        [crash(0, 1, 2, 3, sound=False)] * 50,  # a broken GPU, too little memory: every call is deadly
        [crash(0, 1, 2, 3)],
        [crash(0), crash(1), crash(2), crash(3)],
    ],
)
def test_what_says_nothing_of_a_prompt_does_not_count_against_it(batch, deaths) -> None:
    assert drawn(generate_batch(StandIn(fit), batch, Suspicion(deaths)), 4) == {0, 1, 2, 3}


def test_crashes_of_sound_processes_give_a_sample_up_alone(batch) -> None:
    deaths = [crash(0, 1, 2, 3), crash(0, 1, 2, 3), crash(2), crash(2)]
    results = generate_batch(StandIn(fit), batch, Suspicion(deaths))
    assert drawn(results, 1) == {0, 1, 3}
    assert results[2] == Failure("its process died 2 times of it: was killed by SIGSEGV", final=True)


def test_a_deadly_batch_whose_samples_live_alone_blames_none_of_them(batch) -> None:
    tried: list[list[int]] = []
    doubt = Suspicion([crash(0, 1, 2, 3), crash(0, 1, 2, 3)], trying=lambda indices, sound: tried.append(indices))
    results = generate_batch(StandIn(fit), batch, doubt)
    assert tried == [[0], [1], [2], [3]]  # never all together again
    for failure in results.values():
        assert isinstance(failure, Failure) and not failure.strike and not failure.final
        assert "fails only as a batch of 4" in failure.reason


def test_a_process_shows_that_it_is_sound_before_a_suspected_call(batch) -> None:
    calls: list[list[int]] = []
    told: list[tuple[list[int], bool]] = []
    generator = StandIn(lambda indices, call: calls.append(indices))
    others = [dataclasses.replace(batch[0], index=9)]
    doubt = Suspicion([crash(0, 1, 2, 3)], trying=lambda *said: told.append(said), others=others)
    assert drawn(generate_batch(generator, batch, doubt), 4) == {0, 1, 2, 3}
    assert calls == [[9], [0, 1, 2, 3]]
    assert told == [([9], False), ([0, 1, 2, 3], True)]
    assert drawn(generate_batch(generator, batch, doubt), 4) and len(calls) == 3  # once is enough


def test_what_others_fail_of_is_not_blamed_on_a_suspected_batch(batch) -> None:
    def fails(indices: list[int], call: int) -> None:
        if 9 in indices:
            raise ValueError("no")

    others = [dataclasses.replace(batch[0], index=9)]
    doubt = Suspicion([crash(0, 1, 2, 3)], others=others)
    assert drawn(generate_batch(StandIn(fails), batch, doubt), 4) == {0, 1, 2, 3}


def mixed(folder: Path) -> Run:
    folder.mkdir()
    (folder / "p.csv").write_text("prompt,height\n" + "".join(f"number {n},{64 if n % 2 else 32}\n" for n in range(8)))
    return new_run(folder, f"prompt_file={folder}/p.csv", "batch_size=4", "shard_size=8")


def test_prompts_of_mixed_sizes_fill_their_batches_and_stand_in_order(tmp_path: Path) -> None:
    calls: list[list[int]] = []
    straight = mixed(tmp_path / "straight")
    make_shard(straight, StandIn(lambda indices, call: calls.append(indices)))
    assert calls == [[0, 2, 4, 6], [1, 3, 5, 7]]
    with tarfile.open(straight.directory.tar(0)) as archive:
        keys = [name.partition(".")[0] for name in archive.getnames() if name.endswith(".png")]
    assert keys == [straight.layout.sample(index).key for index in range(8)]

    killed = mixed(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        make_shard(killed, StandIn(lambda indices, call: KeyboardInterrupt() if call == 2 else None))
    make_shard(killed, StandIn(lambda indices, call: None))
    assert tar_hashes(killed.directory.path) == tar_hashes(straight.directory.path)


def test_a_mixed_run_of_other_batches_is_refused_with_the_reason(tmp_path: Path) -> None:
    run = mixed(tmp_path / "old")
    make_shard(run, StandIn(lambda indices, call: None))
    record = run.directory.read()
    del record["identity"]["batches"]  # as an earlier version wrote it
    run.directory.rewrite(record, run.config)
    with pytest.raises(BadInput, match="holds another run: an earlier version made its batches, of neighbours only"):
        resolved(
            f"output_base_path={tmp_path}/old", "exp_name=run", f"prompt_file={tmp_path}/old/p.csv", "batch_size=4",
            "shard_size=8",
        )  # fmt: skip
