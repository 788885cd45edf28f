"""Imports what workers need, when it is imported itself: by the process that workers are forked from, and by tasks."""

import importlib

from jobs.base.uncollected import uncollected

LIBRARIES = (
    *("diffusers.loaders.single_file_utils", "diffusers.pipelines.pipeline_utils", "transformers.modeling_utils"),
    "pyarrow.parquet",
)

with uncollected():
    for name in (*LIBRARIES, "jobs.execute.worker"):
        importlib.import_module(name)
