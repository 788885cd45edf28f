"""The runner: prompts in, WebDataset shards out, on one machine or a cluster."""
