"""What forecasting costs in quality, on the embedded models: ``python -m tools.benchmarks.quality``."""
