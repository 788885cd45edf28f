"""How fast the runner plans, writes, and stays out of the generator's way: ``python -m tools.benchmarks.runner``."""
