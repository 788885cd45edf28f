"""What is kept of one guidance branch, features or outputs, and the weighted sum over it."""

from collections.abc import Sequence

import torch

from spectrum.errors import SpectrumError

# Elements summed at a time. The float32 accumulator of a chunk stays in cache while the rows stream past it,
# so each row is read from memory once and nothing else is: a forecast moves little more than the bytes of the
# history.
_CHUNK_CPU = 2**19
_CHUNK_ACCELERATOR = 2**22
# PyTorch rounds page-locked memory up to a power of two, which can be twice what a row needs. So a row is cut into
# pieces of such sizes, until at most this share of it is left for the last: less than that is lost.
_LAST_PIECE = 1 / 16


class History:
    """K rows of features, allocated when the first one is stored and never joined.

    A row has the shape of the feature. It is kept in `dtype`, or in the feature's own if that is None; sums
    are accumulated in float32 (float64 for float64 features), and a forecast has the dtype and the device of
    the features stored. Rows in CPU memory (page-locked, for features on a CUDA device) visit the device chunk
    by chunk during a forecast and are summed there, in the same order: where they are kept changes no bit.

    Args:
        num_rows: K, the number of features the plan needs.
        dtype: Storage dtype, for features that reach the head wider than the model computes them.
        device: Where the rows are kept: "cpu", or None for the device of the features.
    """

    def __init__(self, num_rows: int, dtype: torch.dtype | None = None, device: str | None = None) -> None:
        self._num_rows = num_rows
        self._storage_dtype = dtype
        self._storage_device = device
        self._rows: list[tuple[torch.Tensor, ...]] = []  # the flat pieces of each
        self._locked = False  # whether they are page-locked
        self._like = torch.empty(0)  # has the features' dtype and device
        self._shape = torch.Size()
        self.filled = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return sum(piece.nbytes for row in self._rows for piece in row)

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
        if not self._rows:
            self._allocate(feature)
        if feature.shape != self._shape:
            raise SpectrumError(
                f"a feature of shape {tuple(feature.shape)} does not fit rows of "
                f"{tuple(self._shape)}: keep batch and size the same within a trajectory"
            )
        pieces = self._rows[row]
        if self._locked:
            # Without waiting: only later work on the device's stream reads it.
            for piece, part in zip(pieces, torch.split(feature.reshape(-1), [*map(len, pieces)]), strict=True):
                piece.copy_(part, non_blocking=True)
        else:
            pieces[0].view(self._shape).copy_(feature)
        self.filled += 1

    def _allocate(self, feature: torch.Tensor) -> None:
        self._like, self._shape = feature.new_empty(0), feature.shape
        dtype = self._storage_dtype or feature.dtype
        self._locked = self._storage_device == "cpu" and _is_remote(feature)
        if self._locked:
            sizes = _pieces(feature.numel())
            self._rows = [tuple(_page_locked(size, dtype) for size in sizes) for _ in range(self._num_rows)]
        else:
            device = self._storage_device or feature.device
            rows = torch.empty(self._num_rows, feature.numel(), dtype=dtype, device=device)
            self._rows = [(row,) for row in rows]

    @torch.no_grad()
    def cut_to(self, tokens: int) -> None:
        """Keep of each row, a sequence (B, S, C), the last so many positions; no more are to come."""
        if not self._rows or self._shape[1] <= tokens:
            return
        rows, shape, like = self._rows[: self.filled], self._shape, self._like
        self._rows, self.filled = [], 0
        for number, pieces in enumerate(rows):
            row = torch.cat([piece.to(like.device, non_blocking=True) for piece in pieces]).to(like.dtype)
            self.store(number, row.view(shape)[:, -tokens:])

    @torch.no_grad()
    def forecast(self, coefficients: Sequence[float]) -> torch.Tensor:
        """Return sum_k a_k * row k over the first rows, in the shape and dtype of the features.

        Args:
            coefficients: The a_k, for as many rows. Numbers of the host, which go to the kernels as arguments:
                nothing waits for the device.

        Raises:
            SpectrumError: Fewer rows are filled than there are coefficients.
        """
        if not self._rows or len(coefficients) > self.filled:
            raise SpectrumError(
                f"a forecast from {len(coefficients)} features needs as many rows: {self.filled} are filled"
            )
        forecast = self._like.new_empty(self._shape)
        dtype = self._rows[0][0].dtype
        accumulate = torch.float64 if dtype == torch.float64 else torch.float32
        chunk = _CHUNK_CPU if forecast.device.type == "cpu" else _CHUNK_ACCELERATOR
        scratch = torch.empty(min(chunk, forecast.numel()), dtype=accumulate, device=forecast.device)

        terms = [(pieces, a) for pieces, a in zip(self._rows, coefficients, strict=False) if a]
        parts = torch.split(forecast.view(-1), [*map(len, self._rows[0])])
        for number, start in ((n, at) for n, part in enumerate(parts) for at in range(0, len(part), chunk)):
            out = parts[number][start : start + chunk]
            total = out if out.dtype == accumulate else scratch[: out.numel()]
            total.zero_()
            for pieces, a in terms:
                here = pieces[number][start : start + chunk]
                total.add_(here.to(total.device, non_blocking=True), alpha=a)  # a copy only from elsewhere
            if total is not out:
                out.copy_(total)
        return forecast


def _is_remote(feature: torch.Tensor) -> bool:
    """Return whether only page-locked memory of the host takes a copy of this that nobody waits for."""
    return feature.is_cuda


def _page_locked(size: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(size, dtype=dtype, pin_memory=True)


def _pieces(numel: int) -> list[int]:
    """Return the sizes into which a row of so many elements is cut: powers of two, and what is left."""
    sizes, left = list[int](), numel
    while left > numel * _LAST_PIECE:
        sizes.append(1 << (left.bit_length() - 1))
        left -= sizes[-1]
    return [*sizes, left] if left else sizes
