"""What is kept of one guidance branch, features or outputs, and the weighted sum over it."""

from collections.abc import Sequence

import torch

from spectrum.errors import SpectrumError

# Elements summed at a time. The float32 accumulator of a chunk stays in cache while the rows stream past it,
# so each row is read from memory once and nothing else is: a forecast moves little more than the bytes of the
# history.
_CHUNK_CPU = 2**19
_CHUNK_ACCELERATOR = 2**22


class History:
    """K rows of features, allocated when the first one is stored and never moved or joined.

    A row has the shape of the feature. It is kept in `dtype`, or in the feature's own if that is None; sums
    are accumulated in float32 (float64 for float64 features), and a forecast has the dtype and the device of
    the features stored. Rows in CPU memory (pinned, for features on a CUDA device) visit the device chunk by
    chunk during a forecast and are summed there, in the same order: where they are kept changes no bit.

    Args:
        num_rows: K, the number of features the plan needs.
        dtype: Storage dtype, for features that reach the head wider than the model computes them.
        device: Where the rows are kept: "cpu", or None for the device of the features.
    """

    def __init__(self, num_rows: int, dtype: torch.dtype | None = None, device: str | None = None) -> None:
        self._num_rows = num_rows
        self._storage_dtype = dtype
        self._storage_device = device
        self._rows: torch.Tensor | None = None  # (K, *feature)
        self._like = torch.empty(0)  # has the features' dtype and device
        self.filled = 0

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return 0 if self._rows is None else self._rows.nbytes

    @torch.no_grad()
    def store(self, row: int, feature: torch.Tensor) -> None:
        """Copy `feature` into `row`; rows are filled in order.

        Args:
            row: Its number, from 0.
            feature: Any shape and floating dtype; every row has those of row 0.

        Raises:
            SpectrumError: The row is not the next one, or the feature's shape differs from that of row 0.
        """
        if row != self.filled or row >= self._num_rows:
            raise SpectrumError(f"row {row} is not the next of {self._num_rows} rows: {self.filled} are filled")
        if self._rows is None:
            self._like = feature.new_empty(0)
            self._rows = torch.empty(
                (self._num_rows, *feature.shape),
                dtype=self._storage_dtype or feature.dtype,
                device=self._storage_device or feature.device,
                pin_memory=self._storage_device == "cpu" and feature.is_cuda,
            )
        if feature.shape != self._rows.shape[1:]:
            raise SpectrumError(
                f"a feature of shape {tuple(feature.shape)} does not fit rows of "
                f"{tuple(self._rows.shape[1:])}: keep batch and size the same within a trajectory"
            )
        # Into pinned memory without waiting: only later work on the device's stream reads it.
        self._rows[row].copy_(feature, non_blocking=self._rows.is_pinned())
        self.filled += 1

    @torch.no_grad()
    def cut_to(self, tokens: int) -> None:
        """Keep of each row, a sequence (B, S, C), the last so many positions; no more are to come."""
        if self._rows is not None and self._rows.shape[2] > tokens:
            self._rows = self._rows[:, :, -tokens:].contiguous()

    @torch.no_grad()
    def forecast(self, coefficients: Sequence[float]) -> torch.Tensor:
        """Return sum_k a_k * row k over the first rows, in the shape and dtype of the features.

        Args:
            coefficients: The a_k, for as many rows. Numbers of the host, which go to the kernels as arguments:
                nothing waits for the device.

        Raises:
            SpectrumError: Fewer rows are filled than there are coefficients.
        """
        if self._rows is None or len(coefficients) > self.filled:
            raise SpectrumError(
                f"a forecast from {len(coefficients)} features needs as many rows: {self.filled} are filled"
            )
        forecast = self._like.new_empty(self._rows.shape[1:])
        accumulate = torch.float64 if self._rows.dtype == torch.float64 else torch.float32
        chunk = _CHUNK_CPU if forecast.device.type == "cpu" else _CHUNK_ACCELERATOR
        scratch = torch.empty(min(chunk, forecast.numel()), dtype=accumulate, device=forecast.device)

        terms = [(row, a) for row, a in zip(self._rows.flatten(1), coefficients, strict=False) if a]
        for start in range(0, forecast.numel(), chunk):
            out = forecast.view(-1)[start : start + chunk]
            total = out if out.dtype == accumulate else scratch[: out.numel()]
            total.zero_()
            for row, a in terms:
                here = row[start : start + chunk].to(total.device, non_blocking=True)  # a copy only from elsewhere
                total.add_(here, alpha=a)
            if total is not out:
                out.copy_(total)
        return forecast
