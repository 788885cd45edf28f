"""GPUs are looked for only where a driver of theirs is."""

from pathlib import Path

import pytest
import torch

from jobs.run.devices import _count_gpus


@pytest.mark.parametrize(("file", "found"), [("null", 0), ("nvidia0", 2), ("nvhost-ctrl", 2), ("dxg", 2), ("kfd", 2)])
def test_torch_is_asked_where_there_is_a_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, found: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    (tmp_path / file).touch()
    assert _count_gpus(tmp_path) == found
