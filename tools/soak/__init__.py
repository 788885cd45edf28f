"""Runs datasets on a real Slurm under random faults and checks what is left: ``python -m tools.soak --help``.

stage    the run under test: its commands, its tasks, and whether it moves
faults   what is done to it
rounds   one dataset after another, each under many faults
check    whether a dataset is what an undisturbed run makes
page     the results as a page
"""
