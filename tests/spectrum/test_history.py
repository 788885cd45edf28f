"""The history: its forecasts against a float64 oracle that shares no code with the package."""

import numpy as np
import pytest
import torch

from spectrum import History, SpectrumConfig, SpectrumError, attach, forecast_coefficients, history
from tests.spectrum.devices import CUDA, DEVICES
from tests.spectrum.tiny import oracle

STEPS = (0, 1, 2, 3, 4, 6, 8, 11)


def filled(features: torch.Tensor, dtype: torch.dtype | None = None, device: str | None = None) -> History:
    rows = History(len(features), dtype, device)
    for row, feature in enumerate(features):
        rows.store(row, feature)
    return rows


@pytest.mark.parametrize("w", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize("chunk", [7, 64, 2**20])
def test_forecast_equals_the_oracle(w, dtype, tolerance, chunk, monkeypatch):
    monkeypatch.setattr(history, "_CHUNK_CPU", chunk)  # whole, ragged and exact chunks of 192 elements
    torch.manual_seed(0)
    features = torch.randn(len(STEPS), 2, 6, 16, dtype=dtype)
    options = {"w": w, "lam": 0.1, "m": 4, "horizon": 28}
    forecast = filled(features).forecast(forecast_coefficients(STEPS, 13, **options).tolist())
    expected = oracle(features.double().flatten(1).numpy(), STEPS, 13, **options).reshape(2, 6, 16)
    assert forecast.dtype == dtype and forecast.shape == (2, 6, 16)
    assert np.linalg.norm(forecast.double().numpy() - expected) <= tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype):
    torch.manual_seed(0)
    features = torch.randn(len(STEPS), 1000).to(dtype)
    coefficients = forecast_coefficients(STEPS, 13, w=0.5, lam=0.1, m=4, horizon=28)
    forecast = filled(features).forecast(coefficients.tolist())
    exact = torch.from_numpy(coefficients @ features.double().numpy())
    # As near as the dtype goes, but for float32 sums that fall on the other side of a tie.
    assert forecast.dtype == dtype
    assert (forecast != exact.to(dtype)).float().mean() < 1e-3


def test_wide_features_can_be_stored_narrow_and_come_back_wide():
    torch.manual_seed(0)
    features = torch.randn(3, 50).bfloat16().float()
    rows = filled(features, torch.bfloat16)
    assert rows.nbytes == 3 * 50 * 2
    expected = 0.25 * features[0] - 0.5 * features[1] + 1.25 * features[2]
    torch.testing.assert_close(rows.forecast([0.25, -0.5, 1.25]), expected, rtol=1e-6, atol=1e-6)


def test_fewer_coefficients_use_the_first_rows():
    assert filled(torch.tensor([[1.0], [10.0], [100.0]])).forecast([2.0, 3.0]).item() == 32.0


def test_allocates_once_and_only_when_something_is_stored():
    rows = History(4)
    assert rows.nbytes == 0
    rows.store(0, torch.zeros(5, 3))
    places = [piece.data_ptr() for pieces in rows._rows for piece in pieces]
    for row in (1, 2, 3):
        rows.store(row, torch.zeros(5, 3))
    assert places == [piece.data_ptr() for pieces in rows._rows for piece in pieces]
    assert rows.nbytes == 4 * 5 * 3 * 4


def test_stores_a_copy_of_any_layout():
    feature = torch.arange(12.0).reshape(3, 4).T
    rows = History(1)
    rows.store(0, feature)
    expected = feature.clone()
    feature.zero_()
    assert torch.equal(rows.forecast([1.0]), expected)


def test_misuse_is_refused():
    rows = filled(torch.zeros(2, 3))
    with pytest.raises(SpectrumError, match="not the next"):
        rows.store(2, torch.zeros(3))
    with pytest.raises(SpectrumError, match="not the next"):
        rows.store(0, torch.zeros(3))
    with pytest.raises(SpectrumError, match="needs as many rows"):
        rows.forecast([1.0, 1.0, 1.0])
    with pytest.raises(SpectrumError, match="needs as many rows"):
        History(3).forecast([1.0])
    short = History(2)
    short.store(0, torch.zeros(3))
    with pytest.raises(SpectrumError, match="keep batch and size"):
        short.store(1, torch.zeros(1))


# Where the rows are kept


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("chunk", [7, 1000, 2**20])
def test_rows_on_the_cpu_change_no_bit(device, dtype, chunk, monkeypatch):
    monkeypatch.setattr(history, "_CHUNK_CPU", chunk)
    monkeypatch.setattr(history, "_CHUNK_ACCELERATOR", chunk)
    torch.manual_seed(0)
    features = torch.randn(len(STEPS), 4000).to(device, dtype)
    coefficients = forecast_coefficients(STEPS, 13, w=0.5, lam=0.1, m=4, horizon=28).tolist()
    rows = filled(features, device="cpu")
    ((piece, *_), *_) = rows._rows
    assert piece.device.type == "cpu" and piece.is_pinned() == (device == "cuda")
    forecast = rows.forecast(coefficients)
    assert forecast.device == features.device
    assert torch.equal(forecast, filled(features).forecast(coefficients))


class CountingAllocator:
    """A fake of page-locked memory, which there is not without CUDA: ordinary memory, counted as PyTorch rounds it."""

    def __init__(self) -> None:
        self.asked = self.taken = 0

    def __call__(self, size: int, dtype: torch.dtype) -> torch.Tensor:
        needed = size * dtype.itemsize
        self.asked += needed
        self.taken += 1 << (needed - 1).bit_length()  # the power of two that holds it
        return torch.empty(size, dtype=dtype)


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> CountingAllocator:
    counting = CountingAllocator()
    monkeypatch.setattr(history, "_is_remote", lambda feature: True)
    monkeypatch.setattr(history, "_page_locked", counting)
    return counting


# The first is a row of HunyuanVideo's in a clip of 129 frames at 1280x720: 14 of them are 10.2 GB.
@pytest.mark.parametrize("numel", [118800 * 3072, 2**20 + 1, 2**20, 3 * 2**19, 2**21 - 1, 17, 1])
def test_page_locked_memory_is_about_what_is_needed(locked, numel):
    rows = History(3, torch.bfloat16, "cpu")
    rows._allocate(torch.empty(numel, device="meta"))
    assert rows.nbytes == locked.asked == 3 * numel * 2
    assert locked.taken <= locked.asked * (1 + 1 / 16) + 2
    assert all(len(pieces) <= 5 for pieces in rows._rows)


@pytest.mark.parametrize("chunk", [7, 1000, 2**20])
def test_rows_in_pieces_change_no_bit(locked, chunk, monkeypatch):
    torch.manual_seed(0)
    features = torch.randn(len(STEPS), 20, 300).transpose(1, 2)  # 4096, 1024, 512 and 368 elements
    coefficients = forecast_coefficients(STEPS, 13, w=0.5, lam=0.1, m=4, horizon=28).tolist()
    expected = filled(features).forecast(coefficients)
    monkeypatch.setattr(history, "_CHUNK_CPU", chunk)
    rows = filled(features, device="cpu")
    assert len(rows._rows[0]) == 4 and locked.asked == features.nbytes
    assert torch.equal(rows.forecast(coefficients), expected)


@pytest.mark.parametrize("device", [None, "cpu"])
def test_cut_rows_keep_the_last_positions(locked, device):
    torch.manual_seed(0)
    features = torch.randn(3, 2, 7, 5)
    rows = History(3, device=device)
    rows.store(0, features[0])
    rows.store(1, features[1])
    rows.cut_to(4)
    rows.store(2, features[2, :, -4:])
    assert len(rows._rows[0]) == (2 if device else 1) and rows.nbytes == 3 * 2 * 4 * 5 * 4
    assert torch.equal(rows.forecast([0.5, 2.0, -1.0]), filled(features[..., -4:, :]).forecast([0.5, 2.0, -1.0]))


def test_a_pipeline_makes_the_same_with_its_features_on_the_cpu(family):
    pipe = family.make()
    outputs, memory = [], []
    for device in (None, "cpu"):
        with attach(pipe, SpectrumConfig(warmup_steps=2, history_device=device)) as handle:
            outputs.append(family.run(pipe, batch=2, num_inference_steps=3))
            memory.append(handle.statistics.history_bytes)
            assert handle.statistics.forecast_calls > 0
    assert torch.equal(*outputs) and memory[0] == memory[1] > 0


@pytest.mark.parametrize("place", [None, "cpu"])
@pytest.mark.parametrize("device", [CUDA])
def test_nothing_waits_for_the_device(place, device):
    features = torch.randn(3, 1000, device=device)
    filled(features, device=place).forecast([0.5, 0.25, 0.25])  # memory is allocated, kernels are loaded
    torch.cuda.set_sync_debug_mode("error")
    try:
        filled(features, device=place).forecast([0.5, 0.25, 0.25])
    finally:
        torch.cuda.set_sync_debug_mode("default")
