"""The runner: prompts in, WebDataset shards out, on one machine or a cluster."""

__version__ = "0.4.0"
