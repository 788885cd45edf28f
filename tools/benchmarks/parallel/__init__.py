"""What a sample shared by several ranks costs, measured and modelled: ``python -m tools.benchmarks.parallel``."""
