"""How fast denoisers of real size run, plain and with Spectrum and its peers: ``python -m tools.benchmarks.speed``."""
