"""The benchmark of shared clips: its cost model against hand-made numbers, its counts, and a run on two ranks."""

import json
import math
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.options.degrees import Degrees
from jobs.parallel.limits import features_bytes
from tools.benchmarks.common.catalog import MODELS
from tools.benchmarks.parallel.__main__ import main
from tools.benchmarks.parallel.cases import Conditions, size_of
from tools.benchmarks.parallel.cost import Line, Message, Rates, Step, calibrated, fit_line
from tools.benchmarks.parallel.count import count_step
from tools.benchmarks.parallel.measure import RanksFailed, measure
from tools.benchmarks.parallel.predict import EVALUATED, STEPS, Assumptions, check, clip

SCALE = 0.005
LINES = {"exchange": Line(1e-3, 1e6), "gather": Line(2e-3, 2e6)}
RATES = Rates(flops=1e9, memory=1e8, launch=1e-4, lines=LINES)
EIGHT = tuple(range(8))


@pytest.mark.parametrize(
    ("rates", "seconds"),
    [
        (RATES, 2 + 0.5 + 0.3),
        (replace(RATES, slowdown=2.0), 4 + 0.5 + 0.6),
        (replace(RATES, ahead=True), 2 + 0.5),
        (replace(RATES, ahead=True, launch=1e-3), 3),
    ],
)
def test_seconds_of_arithmetic_memory_and_launches(rates: Rates, seconds: float):
    step = Step(flops=2e9, traffic=5e7, ops=3000)
    assert rates.compute_seconds(step) == rates.seconds(step) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("message", "rates", "seconds"),
    [
        (Message("exchange", 1000, (0, 1)), RATES, 1e-3 + 1e-3),
        (Message("exchange", 1000, EIGHT, 10), RATES, 10 * (1e-3 + 7e-3)),
        (Message("gather", 1000, (0, 4)), RATES, 2e-3 + 5e-4),
        (Message("gather", 1000, (0, 4)), replace(RATES, node=4, network=1e4), 2e-3 + 0.1),
        (Message("exchange", 1000, EIGHT), replace(RATES, node=4, network=1e4), 1e-3 + 0.4),
        (Message("exchange", 1000, EIGHT), replace(RATES, node=8, network=1e4), 1e-3 + 7e-3),
        (Message("exchange", 1000, EIGHT), replace(RATES, node=4, network=1e9), 1e-3 + 3e-3),
    ],
)
def test_seconds_of_messages(message: Message, rates: Rates, seconds: float):
    step = Step(0.0, messages=(message,))
    assert rates.message_seconds(step) == rates.seconds(step) == pytest.approx(seconds)
    assert rates.share(Step(1e9, messages=(message,))) == pytest.approx(seconds / (1 + seconds))


def test_a_line_is_found_again():
    sizes = [1e3, 1e5, 1e6, 1e7]
    line = fit_line(sizes, [2e-4 + size / 3e9 for size in sizes])
    assert (line.latency, line.bandwidth) == pytest.approx((2e-4, 3e9))


def test_a_line_has_no_negative_latency():
    line = fit_line([1e3, 1e6], [1e-7, 1.0])
    assert line.latency == 0 and line.bandwidth > 0


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("seconds", [1.0, 0.11])
def test_rates_give_back_what_they_were_made_from(ahead: bool, seconds: float):
    evaluated, forecast = Step(4e9), Step(1e8, 1e7, 50)
    rates = calibrated(evaluated, 2.0, forecast, seconds, 1e9, ahead)
    assert rates.seconds(evaluated) == pytest.approx(2.0)
    assert rates.seconds(forecast) == pytest.approx(seconds)


def test_work_that_took_less_than_it_can_has_no_launches():
    assert calibrated(Step(4e9), 2.0, Step(1e8, 1e7, 50), 0.01, 1e9, False).launch == 0


def wan_flops(parts: int) -> tuple[int, int]:
    """Of one call by hand on one of so many ranks: (evaluated, forecast)."""
    size = size_of("wan", SCALE)
    config, (_, tokens, d), text = size.config, size.feature, size.text_tokens
    latent = 16 * 4  # channels of a patch of 1 x 2 x 2
    whole = tokens * latent * d  # the patches' embedding, which every rank computes
    whole += config["freq_dim"] * d + d * d + d * 6 * d  # the time's
    whole += text * (config["text_dim"] * d + d * d)
    mine = tokens // parts
    block = 4 * mine * d * d + 2 * mine * tokens * d  # attention to itself
    block += 2 * mine * d * d + 2 * text * d * d + 2 * mine * text * d  # to the text, whose keys every rank computes
    block += 2 * mine * d * config["ffn_dim"]
    head = mine * d * latent
    return 2 * (whole + config["num_layers"] * block + head), 2 * (whole + head)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_operations_of_wan_are_those_of_a_count_by_hand(ranks: int):
    size, degrees = size_of("wan", SCALE), Degrees(ulysses=ranks)
    evaluated, forecast = (count_step(MODELS["wan"], size, degrees, torch.float32, rows) for rows in (None, 3))
    calls = 2
    assert (evaluated.flops, forecast.flops) == tuple(calls * flops for flops in wan_flops(ranks))


def test_attention_of_hunyuan_video_is_counted():
    """Twice the frames add their part of everything, and the attention's squares grow beyond it."""
    size, layers = size_of("hunyuan", SCALE), 4
    text, (batch, tokens, d) = size.text_tokens, size.feature
    flops = []
    for times in (1, 2, 3):
        frames = 4 * (((size.call["num_frames"] - 1) // 4 + 1) * times) - 3
        more = replace(size, call=size.call | {"num_frames": frames}, feature=(batch, times * tokens, d))
        flops.append(count_step(MODELS["hunyuan"], more, Degrees(), torch.float32, None).flops)
    squares = [4 * (times * tokens + text) ** 2 * d * layers for times in (1, 2, 3)]
    assert flops[2] - 2 * flops[1] + flops[0] == squares[2] - 2 * squares[1] + squares[0]


@pytest.mark.parametrize(
    ("name", "layers", "text"), [("wan", 2, 0), ("hunyuan", 4, size_of("hunyuan", SCALE).text_tokens)]
)
@pytest.mark.parametrize("ranks", [2, 4])
def test_messages_of_ulysses(name: str, layers: int, text: int, ranks: int):
    """Query, key, value and output of each block, and the gather of the output."""
    size, everyone = size_of(name, SCALE), tuple(range(ranks))
    _, tokens, d = size.feature
    calls = 2 if name == "wan" else 1
    exchange = Message("exchange", (tokens + text) * d // ranks**2 * 4, everyone, calls * 4 * layers)
    gather = Message("gather", tokens // ranks * 64 * 4, everyone, calls)
    masks = [Message("gather", (tokens + text) // ranks, everyone, calls * layers)] if text else []
    evaluated, forecast = (
        count_step(MODELS[name], size, Degrees(ulysses=ranks), torch.float32, rows) for rows in (None, 3)
    )
    assert set(evaluated.messages) == {exchange, gather, *masks}
    assert forecast.messages == (gather,)
    assert evaluated.sent == sum(one.sent for one in (exchange, gather, *masks))


def test_messages_of_branches_and_ring():
    """One exchange of outputs a step; keys and values of the other part in each block."""
    size = size_of("wan", SCALE)
    _, tokens, d = size.feature
    output = math.prod((16, (size.call["num_frames"] - 1) // 4 + 1, size.call["height"] // 8, size.call["width"] // 8))
    branches = count_step(MODELS["wan"], size, Degrees(cfg=2), torch.bfloat16, None)
    assert branches.messages == (Message("gather", 2 * output, (0, 1)),)
    assert branches.flops == wan_flops(1)[0]
    ring = count_step(MODELS["wan"], size, Degrees(ulysses=2, ring=2), torch.bfloat16, None)
    keys_and_values = Message("gather", 2 * (2 * tokens // 2 * d // 2), (0, 2), 2 * 2)
    assert keys_and_values in ring.messages


def test_more_ranks_do_less_each():
    size = size_of("hunyuan", SCALE)
    counted = {
        ranks: [count_step(MODELS["hunyuan"], size, Degrees(ulysses=ranks), torch.float32, rows) for rows in (None, 5)]
        for ranks in (1, 2, 4)
    }
    for fewer, more in ((1, 2), (2, 4)):
        assert all(b.flops < a.flops for a, b in zip(counted[fewer], counted[more], strict=True))
        assert counted[more][1].traffic < counted[fewer][1].traffic
    assert all(forecast.traffic > 0 and forecast.ops > 0 for _, forecast in counted.values())


def test_a_forecast_from_more_features_reads_more():
    size, rows, more = size_of("wan", SCALE), 3, 2
    few, many = (
        count_step(MODELS["wan"], size, Degrees(ulysses=2), torch.float32, count) for count in (rows, rows + more)
    )
    assert many.traffic - few.traffic == features_bytes(math.prod(size.feature), 2, more, 4, Degrees(ulysses=2))


def test_a_clip_by_hand():
    counted: dict[str, Any] = {
        "degrees": {"ulysses": 2, "ring": 1, "cfg": 1},
        "evaluated": {"flops": 4e12, "messages": [{"kind": "exchange", "peer_bytes": 10**9, "ranks": [0, 1]}]},
        "forecast": {"flops": 0.0, "traffic": 1e9, "ops": 9, "messages": []},
    }
    made = clip(counted, Assumptions(tflops=2, memory=1, launch=1e5, link=2, network=0.5, latency=5e5, node=2))
    assert (made.evaluated, made.forecast) == pytest.approx((2 + 0.5 + 0.5, 1.0))
    assert made.evaluated_share == pytest.approx(1 / 3)
    assert made.plain == pytest.approx(STEPS * 3.0)
    assert EVALUATED == 14
    assert made.spectrum == pytest.approx(14 * 3.0 + 36 * 1.0)
    assert made.apart == pytest.approx(14 * (2 + 0.5 + 2) + 36 * 1.0)


@pytest.mark.timeout(600)
def test_ranks_make_the_collectives_and_keep_the_features_that_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The smoke test: from the command line to the page, on one and two ranks, which need not import all anew."""
    forked = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: forked)
    options = ["measure", "--scale", str(SCALE), "--steps", "7", "--degrees", "1,2", "--device", "cpu"]
    options += ["--time-limit", "500"]
    assert main([*options, "--out", str(tmp_path)]) == 0
    rows = check(json.loads(next(tmp_path.glob("parallel-*.json")).read_text()))
    assert len(rows) == 5
    for run, kinds in rows:
        degrees, size = Degrees(**run["degrees"]), size_of(run["model"], SCALE)
        assert all(one.counted_right and one.measured > 0 for one in kinds.values()), run
        assert all((one.predicted is None) == (degrees.size == 1) for one in kinds.values())
        calls, evaluated_before_the_last_forecast = (2 if run["model"] == "wan" else 1), 4  # steps 0, 1, 2, 4 of 7
        expected = features_bytes(math.prod(size.feature), calls, evaluated_before_the_last_forecast, 4, degrees)
        assert run["history_bytes"] == expected
    page = tmp_path / "parallel.md"
    before = page.read_text()
    assert "in 10 of 10 cases" in before
    page.unlink()
    assert main(["--render", "--out", str(tmp_path)]) == 0
    assert page.read_text() == before


def test_ranks_that_take_too_long_are_ended():
    with pytest.raises(RanksFailed, match="2 ranks took more than 0 s"):
        measure(2, Conditions(SCALE, 7, "cpu", seconds=0))
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["speed"], "there is no section 'speed'"),
        (["--degrees", "2,4"], "--degrees must be 1 and others of 1, 2, 4"),
        (["--degrees", "1,3"], "--degrees must be"),
        (["--device", "tpu"], "invalid choice: 'tpu'"),
        (["--scale", "2"], "--scale must be"),
        (["--steps", "5"], "--steps must be at least 7"),
        (["--link", "0"], "--link must be above 0"),
    ],
)
def test_wrong_options_are_refused(arguments: list[str], sentence: str, tmp_path: Path, capsys):
    with pytest.raises(SystemExit):
        main([*arguments, "--render", "--out", str(tmp_path)])
    assert sentence in capsys.readouterr().err
