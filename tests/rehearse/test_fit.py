"""How many samples fit onto a GPU at once."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.base.errors import BadInput
from jobs.options.cards import CARDS, Card, card_named
from jobs.rehearse import fit
from jobs.rehearse.cards import needs
from jobs.rehearse.fit import fitting_batch, largest_sample, needs_tiles
from jobs.rehearse.rehearsal import rehearse
from jobs.run.run import Run
from tests.rehearse.test_cards import GB, MADE_UP
from tests.support import resolved


def run_of(folder: Path, *options: str) -> Run:
    (folder / "p.txt").write_text("a red circle on a white background\n" * 4)
    return resolved("model=demo", f"prompt_file={folder}/p.txt", "algo=nocache", *options)


def card_of(usable: float) -> Card:
    return Card("a card", usable / 2**30 / 0.92)


@pytest.mark.slow
def test_a_batch_fills_a_card_as_what_was_counted_says(tmp_path: Path) -> None:
    run = run_of(tmp_path, "shard_size=1000")
    counted = rehearse(run, largest_sample(run))
    assert counted.batch == 1
    for samples in (1, 6, 30):
        need = needs(run, counted, samples)["none"]
        most = {fitting_batch(run, card_of(bytes))[1].partition(" fit on")[0] for bytes in (need + 2, need + 2000)}
        assert most == {str(samples)}
    assert fitting_batch(run, CARDS[-1])[1].startswith("256 or more fit on B200 180 GB, ")


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sample takes 51 GB of weights and 20 to decode; each further one 20 more."""
    monkeypatch.setattr(fit, "rehearse", lambda run, sample: MADE_UP)


@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize(("usable", "batch", "tiles"), [(72, 1, False), (70, 1, True), (92, 2, False), (90, 2, True)])
def test_tiles_are_needed_where_decoding_does_not_fit(usable: int, batch: int, tiles: bool, tmp_path: Path) -> None:
    needed, why = needs_tiles(run_of(tmp_path, f"batch_size={batch}"), card_of(usable * GB))
    assert needed is tiles
    assert why.startswith(
        f"decoding {'one sample needs' if batch == 1 else '2 samples at once needs'} {51 + 20 * batch}"
    )


@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize(
    ("usable", "shard_size", "batch", "calls"),
    [(72, 16, 1, "16 calls"), (200, 16, 6, "3 calls"), (200, 7, 7, "1 call"), (200, 8, 4, "2 calls"), (999, 3, 3, "1")],
)
def test_a_shard_is_cut_evenly(usable: int, shard_size: int, batch: int, calls: str, tmp_path: Path) -> None:
    number, why = fitting_batch(run_of(tmp_path, f"shard_size={shard_size}"), card_of(usable * GB))
    assert number == batch and f" shards of {shard_size} are made in {calls}" in why


@pytest.mark.usefixtures("made_up")
def test_what_does_not_fit_is_told_with_what_would(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    size = "batch_size=auto: not one sample of 64x64 fits on a card with model.offload="
    for usable, offload, instead in (
        (60, "none", "model.offload=model"),
        (25, "model", "model.offload=group"),
        (19, "none", "model.vae_tiling=true, a smaller size or a larger GPU"),
    ):
        model = replace(run.options.model, offload=offload)
        asking = replace(run, options=replace(run.options, model=model))
        with pytest.raises(BadInput) as refused:
            fitting_batch(asking, card_of(usable * GB))
        assert str(refused.value) == f"{size}{offload}: use {instead}"
    offloaded = replace(run, options=replace(run.options, model=replace(run.options.model, offload="model")))
    assert fitting_batch(offloaded, card_of(60 * GB))[0] == 2, "each of 20 GB beside the autoencoder's 1"


def test_a_batch_is_for_the_largest_sample(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("prompt,height,width\na cat,64,64\na dog,64,128\na cow,96,64\n")
    run = resolved("model=demo", f"prompt_file={tmp_path}/p.csv", "samples_per_prompt=3", "algo=nocache")
    assert largest_sample(run).key == "00000001_0000"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("H100", "H100 80 GB"),
        ("gpu:h100:4", "H100 80 GB"),
        ("nvidia_h100_80gb_hbm3", "H100 80 GB"),
        ("gpu:a100:2", "A100 40 GB"),
        ("A100-80GB", "A100 80 GB"),
        ("a100_80gb&ib", "A100 80 GB"),
        ("nvidia_geforce_rtx_4090", "RTX 4090 24 GB"),
        ("l40s", "L40S 48 GB"),
        ("24GB", "GPU of 24 GB"),
        ("gpu:a100_1g.5gb:7", "MIG slice 1g.5gb"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "MIG slice 1g.5gb"),
        ("gpu:nvidia_h100_80gb_hbm3_3g.40gb:1", "MIG slice 3g.40gb"),
        ("gpu:7g.80gb:1,gpu:1g-10gb:1", "MIG slice 1g-10gb"),
        ("gpu:a100_mig:4", None),
        ("gh200", None),
        ("l40", None),
        ("None None", None),
        ("", None),
    ],
)
def test_cards_are_known_by_what_clusters_call_them(text: str, name: str | None) -> None:
    card = card_named(text)
    assert (card and card.name) == name


def test_a_slice_of_a_card_has_its_own_memory():
    slices = [card_named(f"gpu:a100_{name}:1") for name in ("1g.5gb", "2g.10gb", "7g.80gb")]
    assert [round(one.memory, 2) for one in slices if one] == [4.75, 9.5, 76.0]
