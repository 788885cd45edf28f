"""Imports what workers need, when it is imported itself: by the process that workers are forked from.

Three things are left out that took a third of its time where scipy is installed, and a fifth elsewhere: torch's
compiler, since what is forked compiles no model (``local.worker_context``); what transformers cuts its models up with
for several processes, which ours never do; and what libraries import of scipy, until it is asked for.
"""

import importlib

from jobs.base.uncollected import uncollected
from jobs.base.unread import leave_compiler_unread, leave_scipy_unread, leave_sharding_unread

LIBRARIES = (
    *("diffusers.loaders.single_file_utils", "diffusers.pipelines.pipeline_utils", "transformers.modeling_utils"),
    *("torch.fx.experimental.symbolic_shapes", "pyarrow.parquet"),  # the former by tensors without data
)


def _rule_out_sharding() -> None:
    """Let transformers find no torch.distributed, which it remembers: it would import all that shards its models."""
    import torch.distributed
    from transformers.utils import is_torch_distributed_available

    is_available = torch.distributed.is_available
    torch.distributed.is_available = lambda: False
    try:
        is_torch_distributed_available()
    finally:
        torch.distributed.is_available = is_available


with uncollected():
    leave_compiler_unread()
    leave_scipy_unread()
    leave_sharding_unread()
    _rule_out_sharding()
    for name in (*LIBRARIES, "jobs.execute.worker"):
        importlib.import_module(name)
