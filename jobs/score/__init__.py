"""Measures the samples of a run, into tables beside its sidecars; its tars stay as they are."""
