"""How ranks that meet in a store tell who they are, and whether they fit together."""

import datetime
import json
import os
import socket
from typing import Any

from jobs.base.times import MEET
from jobs.parallel.sealed import Sealed
from jobs.store.process import process_identity


def introduce(told: Sealed, store: Any, rank: int, size: int, device: str, digest: str) -> list[dict[str, Any]]:
    """Tell the other ranks who this one is, and return what all of them told, in order.

    Args:
        told: what ranks say to each other.
        store: the same store, to wait in.
        rank: this process's.
        size: number of ranks.
        device: torch device of this rank.
        digest: names what it is going to do.

    Raises:
        RuntimeError: a rank did not come in time.
    """
    me = {"process": process_identity(os.getpid()), "device": _name(device), "digest": digest}
    told.set(f"rank/{rank}", json.dumps(me))
    keys = [f"rank/{other}" for other in range(size)]
    store.wait(keys, datetime.timedelta(seconds=MEET))
    return [json.loads(told.get(key)) for key in keys]


def misfit(ranks: list[dict[str, Any]]) -> str | None:
    """Return why ranks cannot share samples, in a sentence; None where they can."""
    devices = {rank["device"] for rank in ranks}
    # Of CPUs all ranks may share one.
    if len(devices) < len(ranks) and devices != {"cpu"}:
        return f"{len(ranks)} ranks share {len(devices)} GPUs: give each rank a GPU of its own"
    if len({rank["digest"] for rank in ranks}) > 1:
        return "the ranks do not agree on what to do: their options, files or library versions differ"
    return None


def _name(device: str) -> str:
    """Return what tells a rank's device from the others'."""
    import torch

    if device.startswith("cuda"):
        return f"{socket.gethostname()} {torch.cuda.get_device_properties(device).uuid}"
    return device
