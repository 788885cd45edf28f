"""How many samples an hour come out at the end: ``python -m tools.benchmarks.throughput``."""
