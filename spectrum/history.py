"""The features of one guidance branch, and the weighted sum over them."""

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
    are accumulated in float32 (float64 for float64 features), and a forecast has the dtype of the features
    stored.

    Args:
        rows: K, the number of features the plan needs.
        dtype: Storage dtype, for features that reach the head wider than the model computes them.
    """

    def __init__(self, rows: int, dtype: torch.dtype | None = None) -> None:
        self._num_rows = rows
        self._storage_dtype = dtype
        self._rows: torch.Tensor | None = None  # (K, *feature)
        self._feature_dtype: torch.dtype | None = None
        self.filled = 0

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return 0 if self._rows is None else self._rows.nbytes

    @torch.no_grad()
    def store(self, row: int, feature: torch.Tensor) -> None:
        """Copies `feature` into `row`; rows are filled in order.

        Raises:
            SpectrumError: The row is not the next one, or the feature's shape differs from that of row 0.
        """
        if row != self.filled or row >= self._num_rows:
            raise SpectrumError(f"Row {row} is not the next of {self._num_rows} rows: {self.filled} are filled.")
        if self._rows is None:
            dtype = self._storage_dtype or feature.dtype
            self._rows = torch.empty((self._num_rows, *feature.shape), dtype=dtype, device=feature.device)
            self._feature_dtype = feature.dtype
        if feature.shape != self._rows.shape[1:]:
            raise SpectrumError(
                f"A feature of shape {tuple(feature.shape)} does not fit rows of "
                f"{tuple(self._rows.shape[1:])}; keep batch and size the same within a trajectory."
            )
        self._rows[row].copy_(feature)
        self.filled += 1

    @torch.no_grad()
    def forecast(self, weights: Sequence[float]) -> torch.Tensor:
        """Returns sum_k weights[k] * row k over the first len(weights) rows, in the dtype of the features.

        The weights are numbers of the host and go to the kernels as arguments: nothing waits for the device.

        Raises:
            SpectrumError: Fewer rows are filled than there are weights.
        """
        if self._rows is None or len(weights) > self.filled:
            raise SpectrumError(
                f"A forecast from {len(weights)} features needs as many rows: {self.filled} are filled."
            )
        forecast = torch.empty(self._rows.shape[1:], dtype=self._feature_dtype, device=self._rows.device)
        accumulate = torch.float64 if self._rows.dtype == torch.float64 else torch.float32
        chunk = _CHUNK_CPU if forecast.device.type == "cpu" else _CHUNK_ACCELERATOR
        scratch = torch.empty(min(chunk, forecast.numel()), dtype=accumulate, device=forecast.device)

        terms = [(row, weight) for row, weight in zip(self._rows.flatten(1), weights, strict=False) if weight]
        for start in range(0, forecast.numel(), chunk):
            out = forecast.view(-1)[start : start + chunk]
            total = out if out.dtype == accumulate else scratch[: out.numel()]
            total.zero_()
            for row, weight in terms:
                total.add_(row[start : start + chunk], alpha=weight)
            if total is not out:
                out.copy_(total)
        return forecast
