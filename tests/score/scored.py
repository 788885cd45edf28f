"""Scoring in this process, and what came of it."""

from pathlib import Path

import pytest

from jobs.execute.halt import Halt
from jobs.options.score import parse_score
from jobs.score.__main__ import main
from jobs.score.across import open_other
from jobs.score.command import _scorings, _where
from jobs.score.scoring import Scoring
from jobs.store.rundir import RunDir
from jobs.store.scores import ScoreDir


def scorings(path: Path, *words: str) -> list[Scoring]:
    """The work that a command would have done, with its directories made."""
    _, options, elsewhere = parse_score([*words, "device=cpu"])
    run = RunDir(path)
    other = open_other(options.against, run, path.parent)
    found = _scorings(run, other, options, _where(elsewhere, launch=False))
    for one in found:
        one.create()
    return found


def work(scoring: Scoring, halt: Halt | None = None) -> list[tuple]:
    """Score in this process what is left, and return what a pool would be told."""
    told: list[tuple] = []
    scoring.make(
        scoring.unfinished(),
        device="cpu",
        log_path="a.log",
        report=lambda *event: told.append(event),
        halt=halt or Halt(),
    )
    return told


def rows(path: Path, scorer: str) -> list[dict]:
    """All scores of a run by one scorer."""
    directory = ScoreDir(RunDir(path), scorer)
    return [row for shard in sorted(directory.done_shards()) for row in directory.table(shard).to_pylist()]


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one sentence with which a command is refused."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words] + ["device=cpu"])
    assert ended.value.code == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and text.startswith("error: ")
    return text
