"""Benchmarks, run by hand. Each writes tables to ``docs/benchmarks`` and the numbers behind them as JSON beside those.

python -m tools.benchmarks.speed       # time of a denoising step: Spectrum and its peers on denoisers of real size
python -m tools.benchmarks.quality     # distance to all-steps sampling at equal evaluation counts, embedded models
python -m tools.benchmarks.parallel    # cost of one sample on several ranks, measured and modelled
python -m tools.benchmarks.runner      # planning, writing, and what the generator waits for
python -m tools.benchmarks.throughput  # samples an hour end to end, and how busy each stage is
python -m tools.benchmarks.report      # building and opening the page of a run

``--help`` of each names its options; ``--render`` writes the page again from the JSON and measures nothing.
"""
