"""What an export consists of, counted while its table is written."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.options.export import SPLITS
from jobs.store.sidecar import FAILED, FLAGGED

_COUNTED = {  # in stats.json -> columns of the table
    "sizes": ("width", "height", "num_frames"),
    "models": (
        *("model", "checkpoint", "revision", "variant", "pipeline", "scheduler", "loras", "fuse_loras"),
        *("quantization", "dtype", "vae_dtype"),
    ),
    "acceleration": (
        *("algo_name", "algo_target", "algo_weights", "algo_schedule", "algo_expected_psnr", "algo_expected_ssim"),
        *("evaluated_steps", "num_inference_steps"),
    ),
    "steps": ("evaluated_steps", "num_inference_steps"),
    "devices": (
        *("environment_device", "environment_name", "environment_attention", "environment_compile"),
        *("environment_offload", "environment_parallel"),
    ),
}
SHOWN = 5  # prompts in the card


class Stats:
    """Counts over the rows of ``jobs.export.table``."""

    def __init__(
        self, prompts: int, scores: Mapping[str, pa.DataType], left_out: dict[str, int], unmade: int = 0
    ) -> None:
        """Begin with no rows.

        Args:
            prompts: how many different prompts there are.
            scores: columns of scores, and their types.
            left_out: why samples that were made are not among the rows -> how many.
            unmade: samples that the runs had still to make, where they are exported in part.
        """
        self.left_out, self.unmade = left_out, unmade
        kinds = (pa.int64(), pa.float64(), pa.bool_())
        numbers = [name for name, kind in scores.items() if kind in kinds]
        self.scores: dict[str, list[np.ndarray]] = {name: [] for name in numbers}
        self.distinct = prompts
        self.splits = {split: Counter[str]() for split in SPLITS}
        self.reasons = Counter[str]()
        self.counted = {name: Counter[tuple[Any, ...]]() for name in _COUNTED}
        self.prompts: list[tuple[str, str]] = []
        self.audits: dict[str, list[float]] = {"psnr": [], "ssim": []}

    def add(self, table: pa.Table) -> None:
        """Count rows."""
        status, split = table["status"], table["split"]
        for name in pc.unique(split).to_pylist():
            here = table.filter(pc.equal(split, name))
            counts = self.splits[name]
            counts["given_up"] += _count(here["status"], FAILED)
            counts["flagged"] += _count(here["status"], FLAGGED)
            counts["samples"] += here.num_rows - _count(here["status"], FAILED)
            counts["media_bytes"] += pc.sum(here["bytes"]).as_py() or 0
        failed = table.filter(pc.equal(status, FAILED))
        self.reasons.update(failed["reason"].to_pylist())
        kept = table.filter(pc.not_equal(status, FAILED))
        for name, columns in _COUNTED.items():
            for row, count in _groups(kept.select([one for one in columns if one in kept.column_names])):
                self.counted[name][tuple(row.get(one) for one in columns)] += count
        for name, values in self.audits.items():
            if (column := f"audit_{name}") in kept.column_names:
                values += kept[column].drop_null().to_pylist()
        for name, parts in self.scores.items():
            parts.append(kept[name].drop_null().cast(pa.float64()).to_numpy())
        if len(self.prompts) < SHOWN:
            pairs = zip(kept["key"].to_pylist(), kept["prompt"].to_pylist(), strict=True)
            self.prompts += list(pairs)[: SHOWN - len(self.prompts)]

    @property
    def samples(self) -> int:
        """How many samples the files hold."""
        return sum(counts["samples"] for counts in self.splits.values())

    @property
    def given_up(self) -> int:
        """How many were given up."""
        return sum(counts["given_up"] for counts in self.splits.values())

    @property
    def flagged(self) -> int:
        """How many were kept although the safety checker flagged them."""
        return sum(counts["flagged"] for counts in self.splits.values())

    def as_json(self, described: dict[str, Any], files: dict[str, dict[str, int]]) -> dict[str, Any]:
        """Return stats.json.

        Args:
            described: what the export is.
            files: of each split that has some, "files" and their "bytes".
        """
        return {
            "export": described,
            "samples": self.samples,
            "given_up": self.given_up,
            "flagged": self.flagged,
            "prompts": self.distinct,
            "splits": {split: {**dict(self.splits[split]), **files[split]} for split in SPLITS if split in files},
            "reasons": dict(sorted(self.reasons.items())),
            **{
                name: [
                    {**dict(zip(_COUNTED[name], values, strict=True)), "samples": count}
                    for values, count in sorted(counter.items(), key=lambda one: repr(one[0]))
                ]
                for name, counter in self.counted.items()
            },
            "audits": self._audited(),
            **({"scores": self._scored()} if self.scores else {}),
            **({"left_out": self.left_out} if self.left_out else {}),
            **({"unmade": self.unmade} if self.unmade else {}),
        }

    def _scored(self) -> dict[str, Any]:
        """Return how the scores that are numbers are spread, truth values as 0 and 1; null where no sample has one."""
        found = {}
        for name, parts in self.scores.items():
            values = np.concatenate(parts) if parts else np.array([])
            spread = [float(one) for one in np.quantile(values, (0, 0.05, 0.5, 0.95, 1))] if len(values) else [None] * 5
            found[name] = {
                "samples": len(values),
                "mean": float(values.mean()) if len(values) else None,
                **dict(zip(("least", "p5", "median", "p95", "most"), spread, strict=True)),
            }
        return found

    def _audited(self) -> dict[str, Any]:
        """Return what the samples that were made with all steps as well come to; empty where there is none."""
        if not self.audits["psnr"]:
            return {}
        found: dict[str, Any] = {"samples": len(self.audits["psnr"])}
        for name, values in self.audits.items():
            quantiles = {"median": float(np.median(values)), "p5": float(np.quantile(values, 0.05))}
            found[name] = {**quantiles, "worst": min(values)}
        return found


def _count(column: pa.ChunkedArray, value: str) -> int:
    return int(pc.sum(pc.equal(column, value)).as_py() or 0)


def _groups(table: pa.Table) -> list[tuple[dict[str, Any], int]]:
    """Return the different rows, and how often each is there; to import pyarrow's grouping would take longer."""
    groups = np.zeros(table.num_rows, np.int64)
    for column in table.columns if table.num_rows else ():
        values = column.combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy()
        _, groups = np.unique(groups * (int(values.max()) + 1) + values, return_inverse=True)
    _, first, counts = np.unique(groups, return_index=True, return_counts=True)
    return list(zip(table.take(first).to_pylist(), counts.tolist(), strict=True))
