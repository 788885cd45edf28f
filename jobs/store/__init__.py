"""What is on the disk: the directory of a run, and how a shard gets there whole."""
