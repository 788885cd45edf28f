"""What several benchmarks share; no benchmark imports another.

machine, device    what was measured on
timing, memory     how time and peak memory are taken
table              Markdown tables
denoisers, catalog denoisers of public models at their real sizes, with random weights
methods, peers     ways to skip denoising steps, and how each is switched on
"""
